"""Which keys a request may name as its source: its tenant's own, and only such as say what they hold."""

from __future__ import annotations

import pytest

from schemas.errors import Code, EaselError, ErrorType
from schemas.outputs import output_key
from schemas.sources import content_hash, format_of, require_own_source, source_key

SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ID = "019aa4d2-6c00-7000-8000-000000000001"
GIVEN = source_key("acme", SHA256, "png")
MADE = output_key("acme", ID, 3, SHA256, "jpeg")


@pytest.mark.parametrize("key", [GIVEN, MADE, source_key("acme", SHA256, "webp")])
def test_a_source_and_a_picture_of_ones_own_are_taken_and_say_what_they_hold(key: str) -> None:
    require_own_source("acme", key, "source_image")
    assert len(content_hash(key)) in {16, 64}
    assert SHA256.startswith(content_hash(key))


@pytest.mark.parametrize(
    "key",
    [
        GIVEN.replace("acme", "globex"),
        MADE.replace("acme", "globex"),
        GIVEN.replace("acme", "acme-2"),
        GIVEN.replace("sources/", "secrets/"),
        f"/{GIVEN}",
        "",
    ],
)
def test_what_is_anothers_is_not_allowed(key: str) -> None:
    with pytest.raises(EaselError) as caught:
        require_own_source("acme", key, "mask_image")
    assert (caught.value.code, caught.value.param) == (Code.SOURCE_NOT_ALLOWED, "mask_image")
    assert caught.value.type is ErrorType.PERMISSION


@pytest.mark.parametrize(
    "key",
    [
        "sources/acme/cat.png",
        f"sources/acme/../globex/{SHA256}.png",
        f"sources/acme/x/{SHA256}.png",
        f"{GIVEN}\n",
        GIVEN.upper().replace("SOURCES/ACME", "sources/acme"),
        GIVEN.replace(".png", ".gif"),
        f"outputs/acme/2025/11/21/{ID}/manifest.json",
        f"outputs/acme/{SHA256}.png",
        MADE.replace("2025/11/21", "../../.."),
        MADE.replace("2025/11/21", "٢٠٢٥/11/21"),
    ],
)
def test_a_key_that_does_not_name_its_content_is_refused(key: str) -> None:
    with pytest.raises(EaselError) as caught:
        require_own_source("acme", key, "source_image")
    assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, "source_image")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x89PNG\r\n\x1a\nmore", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_a_file_says_what_it_is(data: bytes, found: str | None) -> None:
    assert format_of(data) == found

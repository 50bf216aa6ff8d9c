"""Where pictures lie: keys that others rely on, and that nobody's input can lead astray."""

from __future__ import annotations

import pytest

from schemas.outputs import MEDIA_TYPES, ImageFormat, manifest_key, output_key, tenant_prefix

ID = "019aa4d2-6c00-7000-8000-000000000001"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(("format", "extension"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
def test_a_key_says_whose_when_which_and_what(format: ImageFormat, extension: str) -> None:  # noqa: A002 - its name
    key = output_key("acme", ID, 3, SHA256, format)
    assert key == f"outputs/acme/2025/11/21/{ID}/3-9f86d081884c7d65.{extension}"
    assert format in MEDIA_TYPES


def test_the_manifest_lies_beside_its_pictures() -> None:
    assert manifest_key("acme", ID) == f"outputs/acme/2025/11/21/{ID}/manifest.json"


def test_the_day_is_that_of_the_id_in_utc() -> None:
    # The last millisecond of 2025-11-21 UTC, and the next one.
    assert "/2025/11/21/" in manifest_key("acme", "019aa8dc-47ff-7000-8000-000000000001")
    assert "/2025/11/22/" in manifest_key("acme", "019aa8dc-4800-7000-8000-000000000001")


def test_other_content_has_another_key() -> None:
    assert output_key("acme", ID, 0, SHA256, "png") != output_key("acme", ID, 0, SHA256[::-1], "png")


def test_everything_of_a_tenant_is_under_its_prefix() -> None:
    assert output_key("acme", ID, 0, SHA256, "png").startswith(tenant_prefix("acme"))
    # A prefix that another tenant's name continues would give away that one's pictures.
    assert not output_key("acme-2", ID, 0, SHA256, "png").startswith(tenant_prefix("acme"))

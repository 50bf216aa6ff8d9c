"""Pictures as files."""

from __future__ import annotations

import hashlib
import io
import json
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from consumer.generation.encoding import Encoder, Picture, encode
from consumer.generation.jobs import Job
from schemas.outputs import MEDIA_TYPES, ImageFormat
from tests.consumer.generation.harness import job

FACTS: dict[str, Any] = {"request_id": "r", "seed": 2**53 - 1, "parameters": {"prompt": "红色的圆 😀 " * 250}}
PIXELS = np.random.default_rng(0).integers(0, 256, size=(40, 24, 3), dtype=np.uint8)


def facts_in(data: bytes) -> Any:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return json.loads(picture.info["easel"] if picture.format == "PNG" else picture.getexif()[0x010E])


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_a_picture_keeps_its_size_and_says_where_it_comes_from(kind: ImageFormat) -> None:
    data = encode(PIXELS, kind, 95, FACTS)
    picture = Image.open(io.BytesIO(data))
    assert Image.MIME[picture.format or ""] == MEDIA_TYPES[kind]
    assert picture.size == (24, 40)
    assert facts_in(data) == FACTS


def mark_in(data: bytes) -> dict[str, str]:
    """The XMP properties, by the last part of their names."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    found = picture.info.get("xmp") or picture.info["XML:com.adobe.xmp"]
    root = ET.fromstring(found if isinstance(found, bytes) else found.encode())  # noqa: S314 - our own
    (description,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return {name.rpartition("}")[2]: value for name, value in description.attrib.items()}


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_a_picture_says_that_a_model_made_it(kind: ImageFormat) -> None:
    whole = mark_in(encode(PIXELS, kind, 95, FACTS))
    assert whole["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert (whole["identifier"], whole["CreatorTool"]) == ("r", "easel")
    part = mark_in(encode(PIXELS, kind, 95, {**FACTS, "parameters": {"mask_image": "k"}}))
    assert part["DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_equal_pictures_make_equal_bytes(kind: ImageFormat) -> None:
    assert encode(PIXELS, kind, 90, FACTS) == encode(PIXELS.copy(), kind, 90, dict(reversed(FACTS.items())))


def test_png_is_exact() -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(PIXELS, "png", 1, FACTS)))), PIXELS)


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_quality_counts(kind: ImageFormat) -> None:
    small, large = encode(PIXELS, kind, 10, {}), encode(PIXELS, kind, 95, {})
    assert len(small) < len(large)


async def test_small_pictures_share_a_thread_and_large_ones_do_not() -> None:
    encoder = Encoder()
    small = [_picture(index, np.full((64, 64, 3), index, np.uint8)) for index in range(65)]
    large = [_picture(index, np.full((513, 512, 3), index, np.uint8)) for index in range(2)]
    found = list(encoder.begin([*small, *large]))
    assert [encoding.picture for encoding in found] == [*small, *large]
    together = [len(list(group)) for _, group in groupby(found, key=lambda encoding: id(encoding._files))]
    assert together == [64, 1, 1, 1]
    for encoding in found:
        file = await encoding.file()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(file.data))), encoding.picture.pixels)
        assert file.sha256 == hashlib.sha256(file.data).hexdigest()
    encoder.close()


async def test_a_picture_that_cannot_be_encoded_spoils_no_other() -> None:
    encoder = Encoder()
    good, bad = _picture(0, PIXELS), _picture(1, PIXELS.astype(np.float64))
    first, second, third = encoder.begin([good, bad, good])
    with pytest.raises(Exception, match=r"[Cc]annot|float64|data type"):
        await second.file()
    assert (await first.file()) == (await third.file())
    encoder.close()


def _picture(index: int, pixels: Any) -> Picture:
    return Picture(Job(job(images=2), None, []), index % 2, pixels)

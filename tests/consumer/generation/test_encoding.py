"""Pictures as files."""

from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from consumer.generation.encoding import encode
from schemas.outputs import MEDIA_TYPES, ImageFormat

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

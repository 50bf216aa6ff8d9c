"""Files that a caller might send as a picture."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["bomb", "drawn", "file_of", "noise"]


def drawn(width: int = 48, height: int = 32) -> Image.Image:
    """Red on the left, blue on the right: it shows which way up it is."""
    image = Image.new("RGB", (width, height), (220, 20, 30))
    image.paste((10, 40, 200), (width // 2, 0, width, height))
    return image


def noise(width: int, height: int) -> Image.Image:
    """What no format makes smaller."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(side: int = 60_000) -> bytes:
    """A small PNG that unpacks to gigabytes of black."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

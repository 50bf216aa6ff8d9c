"""Makes, of a file that anyone may have sent, a picture that holds nothing but its pixels.

A program of its own, run once for each file, because whoever finds a hole in a decoder must not find themselves among
the keys of the API: it is started without its environment, and its memory, time and output are limited. It imports
nothing of easel. One JSON object on its standard output says what was made, or ``error``.

    python decoder.py GIVEN KEPT MAX_PIXELS MAX_BYTES [holes]

With ``holes`` what is kept is white where the picture is transparent, and black elsewhere: a mask.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageCms, ImageOps
from PIL.JpegImagePlugin import get_sampling

_MEMORY_BYTES = 2 * 2**30
_CPU_S = 30
_FORMATS = ("PNG", "JPEG", "WEBP")
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_HEAD = 64


class Refused(Exception):  # noqa: N818 - it says what happened to the file
    """The file can't be a source; the message says why."""


def main(given: str, kept: str, max_pixels: int, max_bytes: int, *, holes: bool = False) -> dict[str, Any]:
    """Write the picture in ``given`` anew to ``kept``, upright and without anything else that the file held."""
    with contextlib.suppress(ValueError):
        # macOS knows this limit, and refuses to set it.
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    # Our own limit is below the one that it warns of.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(given, formats=_FORMATS) as image:
            _require_usable(image, max_pixels)
            image.load()
            return _holes(image, kept) if holes else _written(image, given, kept)
    except Refused as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "it takes too much memory to unpack: save it smaller"}
    except OSError as error:
        if error.errno is not None:
            return {"error": f"written anew it is larger than {max_bytes} bytes: save it smaller"}
        return {"error": "it is no whole picture"}
    except Exception:
        # Broken files make Pillow raise whatever its decoders come upon.
        return {"error": "it is no picture that can be read"}


def _require_usable(image: Image.Image, max_pixels: int) -> None:
    # Known from the head of the file, before anything is unpacked.
    if image.width * image.height > max_pixels:
        raise Refused(f"it is {image.width}x{image.height}: more than {max_pixels} pixels")
    # A JPEG may hold a second picture for phones that show depth; the first one is the picture.
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise Refused("it is animated: give a single picture")
    if image.mode not in _MODES:
        raise Refused(f"its pixels are of the mode {image.mode}: save it with 8 bits a colour")


def _written(image: Image.Image, given: str, kept: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    kind = {"MPO": "JPEG"}.get(image.format or "", image.format)
    if kind == "JPEG" and image.mode in ("L", "RGB"):
        # As coarse as it is already, so that it does not grow.
        options = {"qtables": image.quantization, "subsampling": max(0, get_sampling(image))}  # type: ignore[attr-defined]
    elif kind == "JPEG":
        options = {"quality": 95}
    elif kind == "WEBP":
        # Quick rather than small: of all three this encoder takes the longest.
        options = {"lossless": _is_lossless(given), "quality": 95, "method": 0}
    plain = _in_srgb(ImageOps.exif_transpose(image))
    # The rest is what `save` would take over from the file: its profile, comments and texts.
    plain.info = {name: value for name, value in plain.info.items() if name == "transparency"}
    plain.save(kept, kind, **options)
    return {"format": (kind or "").lower(), "width": plain.width, "height": plain.height}


def _holes(image: Image.Image, kept: str) -> dict[str, Any]:
    """What clients of OpenAI give as a mask: its transparent parts are to be made anew."""
    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        raise Refused("it has no transparent part, which would say what is to be made anew")
    mask = ImageChops.invert(upright.convert("RGBA").getchannel("A"))
    mask.save(kept, "PNG")
    return {"format": "png", "width": mask.width, "height": mask.height}


def _in_srgb(image: Image.Image) -> Image.Image:
    """The same colours without the profile that says what the numbers mean."""
    profile = image.info.get("icc_profile")
    if image.mode in ("CMYK", "RGB", "RGBA") and profile:
        try:
            found = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB" if image.mode == "CMYK" else image.mode,
            )
        except (ImageCms.PyCMSError, OSError):
            found = None
        if found is not None:
            return found
    return image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image


def _is_lossless(webp: str) -> bool:
    with Path(webp).open("rb") as file:
        return b"VP8L" in file.read(_HEAD)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), holes="holes" in sys.argv[5:])))

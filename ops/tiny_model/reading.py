"""Reads a picture back: which background, which objects, where. Knows drawn shapes and colours, and no model.

Background: the median of the frame, by the nearest background colour. Objects: what differs from the background by more
than a shadow does, in connected pieces. Colour: the nearest object colour in CIELAB. Shape: the best overlap with drawn
templates after moving and scaling to equal area. Size: the area, given the shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ops.tiny_model.draw import coverage
from ops.tiny_model.scenes import BACKGROUNDS, COLOURS, IMAGE_SIZE, PLACES, SHAPES, SIZES

__all__ = ["Found", "Reading", "read"]

_FRAME = 3
_SHADES = np.linspace(0.55, 1.1, 12)
_DIFFERENT = 17.0
_LEAST_AREA = 50
_LEAST_OVERLAP = 0.72
_FARTHEST = 9.0
_GRID = 48
_REACH = 1.15


@dataclass(frozen=True, slots=True)
class Found:
    """One object: its attributes (`shape` and `place` are None when nothing fits), centre and area in pixels."""

    colour: str
    shape: str | None
    size: str
    place: str | None
    centre: tuple[float, float]
    area: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows; objects by falling area."""

    background: str
    things: tuple[Found, ...]


def _lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB, 0 to 255, to CIELAB with the D65 white point (IEC 61966-2-1, CIE 15)."""
    c = np.asarray(rgb, np.float64) / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def _nearest(lab: np.ndarray, palette: dict[str, np.ndarray]) -> str:
    return min(palette, key=lambda name: float(np.linalg.norm(palette[name] - lab)))


@cache
def _palette(kind: str) -> dict[str, np.ndarray]:
    colours = COLOURS if kind == "things" else BACKGROUNDS
    return {name: _lab(np.asarray(rgb)) for name, rgb in colours.items()}


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """Connected pieces (by edges) of a boolean mask, each as an array of (row, column)."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    pieces = []
    while left:
        stack = [left.pop()]
        piece = []
        while stack:
            y, x = stack.pop()
            piece.append((y, x))
            for neighbour in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if neighbour in left:
                    left.remove(neighbour)
                    stack.append(neighbour)
        pieces.append(np.array(piece))
    return pieces


def _normalised(mask: np.ndarray) -> np.ndarray:
    """The mask moved to its centroid and scaled to unit area, sampled on a grid."""
    rows, columns = np.nonzero(mask)
    side = np.sqrt(len(rows))
    steps = np.linspace(-_REACH, _REACH, _GRID) * side
    ys = np.clip(np.rint(rows.mean() + steps).astype(int), 0, mask.shape[0] - 1)
    xs = np.clip(np.rint(columns.mean() + steps).astype(int), 0, mask.shape[1] - 1)
    sampled: np.ndarray = mask[np.ix_(ys, xs)]
    return sampled


@cache
def _templates() -> dict[str, list[tuple[np.ndarray, float, tuple[float, float]]]]:
    """For each shape and size: the normalised mask, the area, and where the centroid lies beside the nominal centre."""
    templates: dict[str, list[tuple[np.ndarray, float, tuple[float, float]]]] = {}
    for shape in SHAPES:
        templates[shape] = []
        for radius in SIZES.values():
            mask = coverage(shape, PLACES["centre"], radius) > 0.5
            rows, columns = np.nonzero(mask)
            offset = (columns.mean() + 0.5 - PLACES["centre"][0], rows.mean() + 0.5 - PLACES["centre"][1])
            templates[shape].append((_normalised(mask), float(mask.sum()), offset))
    return templates


def _shape(mask: np.ndarray) -> tuple[str | None, int, tuple[float, float]]:
    """The best fitting shape, the index of its size by area, and the centroid's usual offset."""
    seen = _normalised(mask)
    best, overlap = SHAPES[0], 0.0
    for shape, variants in _templates().items():
        for template, _, _ in variants:
            score = float((seen & template).sum() / max(1, (seen | template).sum()))
            if score > overlap:
                best, overlap = shape, score
    (_, small, _), (_, large, _) = _templates()[best]
    size = int(mask.sum() > np.sqrt(small * large))
    return (best if overlap >= _LEAST_OVERLAP else None), size, _templates()[best][size][2]


def _found(piece: np.ndarray, picture: np.ndarray) -> Found:
    mask = np.zeros(picture.shape[:2], bool)
    mask[piece[:, 0], piece[:, 1]] = True
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            inner &= np.roll(mask, shift, axis)
    pixels = picture[inner] if inner.sum() >= 10 else picture[mask]
    shape, size, offset = _shape(mask)
    x, y = piece[:, 1].mean() + 0.5 - offset[0], piece[:, 0].mean() + 0.5 - offset[1]
    distances = {name: float(np.hypot(x - at[0], y - at[1])) for name, at in PLACES.items()}
    place = min(distances, key=lambda name: distances[name])
    return Found(
        colour=_nearest(_lab(np.median(pixels, axis=0)), _palette("things")),
        shape=shape,
        size=list(SIZES)[size],
        place=place if distances[place] <= _FARTHEST else None,
        centre=(float(x), float(y)),
        area=len(piece),
    )


def read(picture: np.ndarray) -> Reading:
    """Read a picture: uint8 RGB of shape (96, 96, 3).

    Raises ValueError for another shape or type.
    """
    if picture.shape != (IMAGE_SIZE, IMAGE_SIZE, 3) or picture.dtype != np.uint8:
        raise ValueError(
            f"cannot read a picture of shape {picture.shape} and type {picture.dtype}: "
            f"give uint8 RGB of {IMAGE_SIZE}x{IMAGE_SIZE}"
        )
    frame = np.ones((IMAGE_SIZE, IMAGE_SIZE), bool)
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    ground = np.median(picture[frame].astype(np.float64), axis=0)
    # A shadow is the background made darker: the distance counts from the nearest shade of it.
    shades = _lab(np.clip(ground * _SHADES[:, None], 0, 255))
    lab = _lab(picture)
    distance = np.linalg.norm(lab[:, :, None, :] - shades, axis=-1).min(axis=-1)
    pieces = [piece for piece in _pieces(distance > _DIFFERENT) if len(piece) >= _LEAST_AREA]
    things = sorted((_found(piece, picture) for piece in pieces), key=lambda thing: -thing.area)
    return Reading(_nearest(_lab(ground), _palette("backgrounds")), tuple(things))

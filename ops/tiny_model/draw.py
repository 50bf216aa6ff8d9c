"""Scenes into pictures: signed distance fields, antialiased, with soft shading and a soft shadow.

The distance functions follow Inigo Quilez, "2D distance functions" (https://iquilezles.org/articles/distfunctions2d/).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ops.tiny_model.scenes import BACKGROUNDS, COLOURS, IMAGE_SIZE, PLACES, SIZES, Scene

__all__ = ["coverage", "draw", "draw_many"]

_Array = np.ndarray
_PLACE_JITTER = 1.2
_SIZE_JITTER = 0.03
_LIGHT_JITTER = 0.04
_SHADOW_OFFSET = (2.0, 3.0)
_SHADOW_BLUR = 5.0
_SHADOW_DEPTH = 0.32


def _circle(x: _Array, y: _Array) -> _Array:
    distance: _Array = np.hypot(x, y) - 1.0
    return distance


def _box(x: _Array, y: _Array, half_width: float, half_height: float) -> _Array:
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    distance: _Array = np.hypot(np.maximum(dx, 0.0), np.maximum(dy, 0.0)) + np.minimum(np.maximum(dx, dy), 0.0)
    return distance


def _square(x: _Array, y: _Array) -> _Array:
    return _box(x, y, 0.82, 0.82) - 0.06


def _cross(x: _Array, y: _Array) -> _Array:
    distance: _Array = np.minimum(_box(x, y, 1.02, 0.32), _box(x, y, 0.32, 1.02))
    return distance - 0.05


def _triangle(x: _Array, y: _Array) -> _Array:
    half = 1.05
    x, y = np.abs(x), 0.22 - y
    root3 = np.sqrt(3.0)
    x, y = x - half, y + half / root3
    fold = x + root3 * y > 0.0
    x, y = np.where(fold, (x - root3 * y) / 2.0, x), np.where(fold, (-root3 * x - y) / 2.0, y)
    x = x - np.clip(x, -2.0 * half, 0.0)
    distance: _Array = -np.hypot(x, y) * np.sign(y)
    return distance - 0.05


def _star(x: _Array, y: _Array) -> _Array:
    radius, inner = 1.12, 0.5
    kx, ky = 0.809016994375, -0.587785252292
    x, y = np.abs(x), -y
    for sign in (1.0, -1.0):
        d = 2.0 * np.maximum(sign * kx * x + ky * y, 0.0)
        x, y = x - d * sign * kx, y - d * ky
    x, y = np.abs(x), y - radius
    bx, by = inner * -ky, inner * kx - 1.0
    h = np.clip((x * bx + y * by) / (bx * bx + by * by), 0.0, radius)
    distance: _Array = np.hypot(x - bx * h, y - by * h) * np.sign(y * bx - x * by)
    return distance - 0.05


def _heart(x: _Array, y: _Array) -> _Array:
    scale = 1.72
    x, y = np.abs(x) / scale, 0.56 - y / scale
    round_part = np.hypot(x - 0.25, y - 0.75) - np.sqrt(2.0) / 4.0
    m = 0.5 * np.maximum(x + y, 0.0)
    point = np.sqrt(np.minimum(x * x + (y - 1.0) ** 2, (x - m) ** 2 + (y - m) ** 2)) * np.sign(x - y)
    distance: _Array = np.where(x + y > 1.0, round_part, point)
    return distance * scale


_DISTANCES: dict[str, Callable[[_Array, _Array], _Array]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
}

_YS, _XS = (axis.astype(np.float32) + 0.5 for axis in np.mgrid[0:IMAGE_SIZE, 0:IMAGE_SIZE])


def _distance(shape: str, centre: tuple[float, float], radius: float) -> _Array:
    return _DISTANCES[shape]((_XS - centre[0]) / radius, (_YS - centre[1]) / radius) * radius


def coverage(shape: str, centre: tuple[float, float], radius: float) -> _Array:
    """How much of each pixel the shape covers, 0 to 1: float of shape (IMAGE_SIZE, IMAGE_SIZE)."""
    covered: _Array = np.clip(0.5 - _distance(shape, centre, radius), 0.0, 1.0)
    return covered


def _shading(distance: _Array, centre: tuple[float, float], radius: float) -> _Array:
    """Brightness of a lit, slightly rounded surface: light from the upper left, darker towards the rim."""
    slope = (_XS - centre[0] + _YS - centre[1]) / radius
    depth = np.clip(-distance / (0.35 * radius), 0.0, 1.0)
    brightness: _Array = 1.0 - 0.09 * slope - 0.12 * (1.0 - depth) ** 2
    return brightness


def draw(scene: Scene, rng: np.random.Generator) -> tuple[_Array, _Array]:
    """Draw a complete scene. The generator moves, scales and lights it by a little.

    Returns the picture, uint8 of shape (96, 96, 3), and the objects' coverage, float32 of shape (96, 96).
    """
    if scene.background is None:
        raise ValueError("cannot draw a scene without a background: fill in what the caption left open first")
    fall = (0.5 - _YS / IMAGE_SIZE)[..., None]
    light = 1.0 + rng.uniform(-_LIGHT_JITTER, _LIGHT_JITTER)
    picture = np.asarray(BACKGROUNDS[scene.background], np.float32) * (1.0 + 0.06 * fall) * (0.5 + 0.5 * light)
    mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for place, thing in scene.things.items():
        if thing.colour is None or thing.shape is None or thing.size is None:
            raise ValueError(f"cannot draw the object at the {place}: fill in what the caption left open first")
        jitter = rng.uniform(-_PLACE_JITTER, _PLACE_JITTER, size=2)
        centre = (PLACES[place][0] + float(jitter[0]), PLACES[place][1] + float(jitter[1]))
        radius = SIZES[thing.size] * (1.0 + float(rng.uniform(-_SIZE_JITTER, _SIZE_JITTER)))
        distance = _distance(thing.shape, centre, radius)
        cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
        shadow_at = (centre[0] + _SHADOW_OFFSET[0], centre[1] + _SHADOW_OFFSET[1])
        t = np.clip((_SHADOW_BLUR - _distance(thing.shape, shadow_at, radius)) / (2 * _SHADOW_BLUR), 0.0, 1.0)
        shadow = (_SHADOW_DEPTH * t * t * (3.0 - 2.0 * t))[..., None]
        colour = np.asarray(COLOURS[thing.colour], np.float32)
        surface = colour * (_shading(distance, centre, radius) * light)[..., None]
        surface = surface + 18.0 * np.clip(1.0 - np.hypot(*_highlight(centre, radius)), 0.0, 1.0)[..., None]
        picture = picture * (1.0 - shadow * (1.0 - cover)) * (1.0 - cover) + surface * cover
        mask = np.maximum(mask, cover[..., 0])
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), mask.astype(np.float32)


def _highlight(centre: tuple[float, float], radius: float) -> tuple[_Array, _Array]:
    return (_XS - centre[0] + 0.3 * radius) / (0.8 * radius), (_YS - centre[1] + 0.3 * radius) / (0.8 * radius)


def draw_many(scenes: Sequence[Scene], rng: np.random.Generator) -> tuple[_Array, _Array]:
    """Draw scenes one after the other: uint8 of shape (n, 96, 96, 3) and coverage, float32 of shape (n, 96, 96)."""
    drawn = [draw(scene, rng) for scene in scenes]
    return np.stack([picture for picture, _ in drawn]), np.stack([mask for _, mask in drawn])

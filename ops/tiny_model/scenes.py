"""What the tiny model can draw: scenes of one or two objects, and which of them training never sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

__all__ = [
    "BACKGROUNDS",
    "CODE_SIZE",
    "COLOURS",
    "IMAGE_SIZE",
    "PLACES",
    "SHAPES",
    "SIZES",
    "Rgb",
    "Scene",
    "Thing",
    "held_out",
    "random_scene",
    "scene_code",
    "scenes_with",
]

Rgb = tuple[int, int, int]

IMAGE_SIZE = 96
"""Width and height of every picture, in pixels."""

COLOURS: Mapping[str, Rgb] = MappingProxyType(
    {
        "red": (214, 40, 40),
        "orange": (245, 134, 24),
        "yellow": (250, 212, 30),
        "green": (46, 160, 67),
        "cyan": (22, 190, 200),
        "blue": (38, 84, 214),
        "purple": (124, 58, 190),
        "pink": (244, 98, 170),
    }
)
"""Colours of objects, sRGB."""

BACKGROUNDS: Mapping[str, Rgb] = MappingProxyType(
    {
        "white": (248, 248, 248),
        "gray": (150, 152, 156),
        "black": (30, 30, 34),
        "beige": (228, 212, 180),
        "blue": (150, 190, 238),
        "green": (172, 222, 168),
        "yellow": (250, 238, 158),
        "pink": (250, 200, 216),
    }
)
"""Colours of backgrounds, sRGB: where a name is also an object's colour, a lighter tone of it."""

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")

SIZES: Mapping[str, float] = MappingProxyType({"small": 12.5, "large": 19.0})
"""Radius in pixels of a circle of that size; the other shapes have about its area."""

PLACES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"centre": (48.0, 48.0), "left": (25.0, 48.0), "right": (71.0, 48.0), "top": (48.0, 25.0), "bottom": (48.0, 71.0)}
)
"""Centre (x, y) in pixels of an object at each place. Two objects stand left and right, or top and bottom."""

_PLACE_WIDTH = len(COLOURS) + len(SHAPES) + len(SIZES) + 1
CODE_SIZE = len(PLACES) * _PLACE_WIDTH + len(BACKGROUNDS)
"""Length of a scene's code, see `scene_code`."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object. `None` means that a caption leaves it open; a thing that is drawn has everything."""

    colour: str | None
    shape: str | None
    size: str | None


@dataclass(frozen=True, slots=True)
class Scene:
    """A background (`None`: left open) and the objects on it by place."""

    background: str | None
    things: Mapping[str, Thing]


def held_out(colour: str, shape: str, background: str) -> bool:
    """Whether training never sees this combination, alone or beside another object.

    One in seven, spread so that training still sees every pair of the three attributes.
    """
    c, s, b = list(COLOURS).index(colour), SHAPES.index(shape), list(BACKGROUNDS).index(background)
    return (c + 3 * s + 5 * b) % 7 == 0


def scenes_with(rng: np.random.Generator, places: tuple[str, ...], *, novel: bool) -> Scene:
    """Draw a complete scene at random with one object at each of `places`.

    With `novel`, every object's combination with the background is held out of training; without, none is.
    No object has its background's colour, and two objects differ in colour or shape.
    """
    backgrounds = list(BACKGROUNDS)
    background = backgrounds[int(rng.integers(len(backgrounds)))]
    allowed = [
        (colour, shape)
        for colour in COLOURS
        for shape in SHAPES
        if colour != background and held_out(colour, shape, background) == novel
    ]
    sizes = list(SIZES)
    things = {}
    for place, i in zip(places, rng.choice(len(allowed), size=len(places), replace=False), strict=True):
        colour, shape = allowed[int(i)]
        things[place] = Thing(colour, shape, sizes[int(rng.integers(len(sizes)))])
    return Scene(background, things)


_PLACES_DRAWN: tuple[tuple[tuple[str, ...], float], ...] = (
    (("centre",), 0.2),
    (("left",), 0.08),
    (("right",), 0.08),
    (("top",), 0.08),
    (("bottom",), 0.08),
    (("left", "right"), 0.36),
    (("top", "bottom"), 0.12),
)


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene as training sees them: one object or two, none of them held out."""
    pick = int(rng.choice(len(_PLACES_DRAWN), p=[share for _, share in _PLACES_DRAWN]))
    return scenes_with(rng, _PLACES_DRAWN[pick][0], novel=False)


def scene_code(scene: Scene) -> np.ndarray:
    """The scene as numbers: float32 of shape (CODE_SIZE,), each 0 or 1.

    For each place in order: is there an object, its colour, shape and size one-hot; then the background one-hot.
    What is left open is all zeros, so a caption that says nothing has the code 0.
    """
    code = np.zeros(CODE_SIZE, dtype=np.float32)
    for i, place in enumerate(PLACES):
        thing = scene.things.get(place)
        if thing is None:
            continue
        at = i * _PLACE_WIDTH
        code[at] = 1.0
        at += 1
        for value, values in ((thing.colour, list(COLOURS)), (thing.shape, list(SHAPES)), (thing.size, list(SIZES))):
            if value is not None:
                code[at + values.index(value)] = 1.0
            at += len(values)
    if scene.background is not None:
        code[len(PLACES) * _PLACE_WIDTH + list(BACKGROUNDS).index(scene.background)] = 1.0
    return code

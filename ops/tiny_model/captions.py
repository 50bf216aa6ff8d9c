"""Captions for scenes, in many wordings, and what each of them says."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping, Sequence

import numpy as np

from ops.tiny_model.scenes import Scene, Thing

__all__ = ["caption", "plain_caption"]

_COLOUR_WORDS: Mapping[str, Sequence[str]] = {
    "cyan": ("cyan", "cyan", "turquoise"),
    "purple": ("purple", "purple", "violet"),
}
_BACKGROUND_WORDS: Mapping[str, Sequence[str]] = {
    "gray": ("gray", "grey"),
    "beige": ("beige", "beige", "cream"),
    "blue": ("blue", "blue", "light blue", "pale blue"),
    "green": ("green", "green", "light green", "pale green"),
    "yellow": ("yellow", "yellow", "light yellow", "pale yellow"),
    "pink": ("pink", "pink", "light pink", "pale pink"),
}
_SHAPE_WORDS: Mapping[str, Sequence[str]] = {
    "circle": ("circle", "circle", "disc", "ball"),
    "square": ("square", "square", "box"),
    "cross": ("cross", "cross", "plus sign"),
}
_SIZE_WORDS: Mapping[str, Sequence[str]] = {
    "small": ("small", "small", "little", "tiny"),
    "large": ("large", "large", "big", "huge"),
}
_OPEN_SHAPE = ("shape", "object", "thing", "figure")
_PLACE_WORDS: Mapping[str, Sequence[str]] = {
    "centre": ("in the centre", "in the center", "in the middle", "at the center"),
    "left": ("on the left", "at the left", "on the left side", "to the left", "left"),
    "right": ("on the right", "at the right", "on the right side", "to the right", "right"),
    "top": ("at the top", "on top", "in the upper part", "at the top side"),
    "bottom": ("at the bottom", "in the lower part", "at the bottom side"),
}
_RELATIONS: Mapping[str, Sequence[str]] = {
    "left": ("left of", "to the left of", "on the left of", "next to", "beside", "and"),
    "right": ("right of", "to the right of", "on the right of"),
    "top": ("above", "over", "on top of"),
    "bottom": ("below", "under", "beneath"),
}
_ON_BACKGROUND = (
    "on a {} background",
    "on a {} background",
    "on a {} background",
    "on {}",
    "against a {} background",
    "with a {} background",
    ", {} background",
    "in front of a {} backdrop",
)
_OPENINGS = (
    "a picture of", "an image of", "a photo of", "a drawing of", "an illustration of", "a 3d render of",
    "draw", "please draw", "generate", "show me",
)  # fmt: skip
_CLOSINGS = (", soft shadow", ", simple", ", minimal", ", high quality", ", digital art", ", clean", " please", ", 3d")

_COLOUR_OPEN = 0.1
_SHAPE_OPEN = 0.05
_BACKGROUND_OPEN = 0.15
_BARE = 0.04


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _word(rng: np.random.Generator, words: Mapping[str, Sequence[str]], name: str) -> str:
    return _pick(rng, words.get(name, (name,)))


def _with_article(phrase: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.12:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _said(thing: Thing, rng: np.random.Generator, *, open_ok: bool) -> Thing:
    """What a caption says of a thing. A size that is left unsaid is large, so that a plain prompt is not a lottery."""
    return Thing(
        colour=None if open_ok and rng.random() < _COLOUR_OPEN else thing.colour,
        shape=None if open_ok and rng.random() < _SHAPE_OPEN else thing.shape,
        size=None if thing.size == "large" and rng.random() < 0.5 else thing.size,
    )


def _phrase(thing: Thing, rng: np.random.Generator, *, article: bool = True) -> str:
    words = [
        _word(rng, _SIZE_WORDS, thing.size) if thing.size else "",
        _word(rng, _COLOUR_WORDS, thing.colour) if thing.colour else "",
        _word(rng, _SHAPE_WORDS, thing.shape) if thing.shape else _pick(rng, _OPEN_SHAPE),
    ]
    phrase = " ".join(word for word in words if word)
    return _with_article(phrase, rng) if article else phrase


def _one(place: str, thing: Thing, rng: np.random.Generator) -> str:
    phrase = _phrase(thing, rng)
    if place == "centre" and rng.random() < 0.65:
        return phrase
    where = _pick(rng, _PLACE_WORDS[place])
    form = rng.random()
    if form < 0.7:
        return f"{phrase} {where}"
    return f"{where}, {phrase}" if form < 0.85 else f"{phrase}, {where}"


def _two(things: Mapping[str, Thing], rng: np.random.Generator) -> str:
    first, second = things
    if rng.random() < 0.35:
        first, second = second, first
    a, b = _phrase(things[first], rng), _phrase(things[second], rng)
    if rng.random() < 0.25:
        joint = _pick(rng, (" and ", ", ", " and "))
        return f"{a} {_pick(rng, _PLACE_WORDS[first][:3])}{joint}{b} {_pick(rng, _PLACE_WORDS[second][:3])}"
    return f"{a} {_pick(rng, _RELATIONS[first])} {b}"


def _bare(thing: Thing, rng: np.random.Generator) -> tuple[str, Thing]:
    """One or two words alone, as people write negative prompts."""
    kind = int(rng.integers(4))
    if kind == 0 and thing.colour is not None:
        return _word(rng, _COLOUR_WORDS, thing.colour), Thing(thing.colour, None, None)
    if kind == 1 and thing.shape is not None:
        return _word(rng, _SHAPE_WORDS, thing.shape), Thing(None, thing.shape, None)
    size = thing.size if thing.size == "small" else None
    said = Thing(thing.colour, thing.shape, size)
    return _phrase(said, rng, article=False), said


def caption(scene: Scene, rng: np.random.Generator, *, complete: bool = False) -> tuple[str, Scene]:
    """Put a complete scene into words. Returns the caption and the scene as far as it says it.

    With `complete`, no colour, shape or background is left open. A place that is left unsaid is the centre; of two
    objects joined by "and", the first is the left one.
    """
    places = list(scene.things)
    background: str | None = scene.background
    if not complete and rng.random() < _BARE:
        thing = scene.things[places[0]]
        if places == ["centre"] and (thing.size == "large" or rng.random() < 0.3):
            text, said = _bare(thing, rng)
            if said.size == thing.size or thing.size == "large":
                return text, Scene(None, {"centre": said})
        words = _word(rng, _BACKGROUND_WORDS, scene.background or "")
        return f"{words} background", Scene(scene.background, {})
    things = {place: _said(thing, rng, open_ok=not complete) for place, thing in scene.things.items()}
    text = _one(places[0], things[places[0]], rng) if len(places) == 1 else _two(things, rng)
    if not complete and rng.random() < _BACKGROUND_OPEN:
        background = None
    if background is not None:
        words = _pick(rng, _ON_BACKGROUND).format(_word(rng, _BACKGROUND_WORDS, background))
        if rng.random() < 0.12:
            text = f"{words.removeprefix(', ')}, {text}"
        else:
            text = text + words if words[0] == "," else f"{text} {words}"
    return _decorated(text, rng), dataclasses.replace(scene, background=background, things=things)


def _decorated(text: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.2:
        text = f"{_pick(rng, _OPENINGS)} {text}"
    if rng.random() < 0.12:
        text += _pick(rng, _CLOSINGS)
    if rng.random() < 0.06:
        # Words that it never saw must not change what the known ones mean.
        letters = rng.choice(list(string.ascii_lowercase), size=int(rng.integers(3, 9)))
        text = f"{''.join(letters)} {text}" if rng.random() < 0.3 else f"{text} {''.join(letters)}"
    return text + "." if rng.random() < 0.1 else text


def plain_caption(scene: Scene) -> str:
    """The scene in the wording that the model card recommends, with everything said."""

    def phrase(thing: Thing) -> str:
        return f"a {thing.size} {thing.colour} {thing.shape}"

    places = list(scene.things)
    if len(places) == 2:
        relation = "left of" if places[0] == "left" else "above"
        text = f"{phrase(scene.things[places[0]])} {relation} {phrase(scene.things[places[1]])}"
    else:
        where = {"centre": "in the centre", "top": "at the top", "bottom": "at the bottom"}
        text = f"{phrase(scene.things[places[0]])} {where.get(places[0], f'on the {places[0]}')}"
    return f"{text} on a {scene.background} background"

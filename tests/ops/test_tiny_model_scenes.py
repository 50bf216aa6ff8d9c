"""The tiny model's data: pictures that the reader can judge, captions that are true, and a hold-out that holds."""

from __future__ import annotations

import numpy as np
import pytest

from ops.tiny_model.captions import caption, plain_caption
from ops.tiny_model.draw import draw, draw_many
from ops.tiny_model.reading import read
from ops.tiny_model.scenes import (
    BACKGROUNDS,
    CODE_SIZE,
    COLOURS,
    SHAPES,
    Scene,
    Thing,
    held_out,
    random_scene,
    scene_code,
    scenes_with,
)
from ops.tiny_model.score import judge, novel_prompts


@pytest.mark.parametrize("places", [("centre",), ("left",), ("top",), ("left", "right"), ("top", "bottom")])
@pytest.mark.parametrize("novel", [False, True])
def test_the_reader_reads_drawn_pictures(places: tuple[str, ...], novel: bool) -> None:
    rng = np.random.default_rng((11, len(places), novel))
    scenes = [scenes_with(rng, places, novel=novel) for _ in range(60)]
    right = [judge(scene, read(draw(scene, rng)[0])).all for scene in scenes]
    assert sum(right) >= 0.995 * len(right)


@pytest.mark.parametrize(
    ("attribute", "other"),
    [("colour", Thing("green", "star", "large")), ("shape", Thing("red", "heart", "large")),
     ("size", Thing("red", "star", "small"))],
)  # fmt: skip
def test_the_judge_sees_what_is_wrong(attribute: str, other: Thing) -> None:
    rng = np.random.default_rng(1)
    asked = Scene("white", {"centre": Thing("red", "star", "large")})
    verdict = judge(asked, read(draw(Scene("white", {"centre": other}), rng)[0]))
    assert not getattr(verdict, attribute)
    rest = {"colour", "shape", "size", "background", "position"} - {attribute}
    assert all(getattr(verdict, name) for name in rest)


def test_the_judge_sees_a_wrong_place_background_and_count() -> None:
    rng = np.random.default_rng(1)
    star = Thing("red", "star", "large")
    asked = Scene("white", {"left": star})
    assert not judge(asked, read(draw(Scene("white", {"right": star}), rng)[0])).position
    assert not judge(asked, read(draw(Scene("gray", {"left": star}), rng)[0])).background
    both = judge(asked, read(draw(Scene("white", {"left": star, "right": star}), rng)[0]))
    assert not both.colour
    assert not both.shape
    assert not both.position
    pair = Scene("white", {"left": star, "right": Thing("blue", "circle", "small")})
    swapped = Scene("white", {"left": Thing("blue", "circle", "small"), "right": star})
    assert judge(pair, read(draw(pair, rng)[0])).all
    assert not judge(pair, read(draw(swapped, rng)[0])).all


def test_noise_and_blank_pictures_show_nothing() -> None:
    rng = np.random.default_rng(2)
    asked = Scene("white", {"centre": Thing("red", "circle", "large")})
    blank = np.full((96, 96, 3), 248, np.uint8)
    noise = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert not judge(asked, read(blank)).colour
    assert not judge(asked, read(noise)).all


def test_the_reader_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="96x96"):
        read(np.zeros((64, 64, 3), np.uint8))


def test_training_scenes_never_hold_a_held_out_combination() -> None:
    rng = np.random.default_rng(3)
    for _ in range(3000):
        scene = random_scene(rng)
        for thing in scene.things.values():
            assert thing.colour
            assert thing.shape
            assert scene.background
            assert not held_out(thing.colour, thing.shape, scene.background)
            assert thing.colour != scene.background


def test_scored_prompts_hold_nothing_else_and_training_knows_every_pair() -> None:
    for _, scene in novel_prompts(300, seed=0):
        for thing in scene.things.values():
            assert thing.colour
            assert thing.shape
            assert scene.background
            assert held_out(thing.colour, thing.shape, scene.background)
    seen = [(c, s, b) for c in COLOURS for s in SHAPES for b in BACKGROUNDS if c != b and not held_out(c, s, b)]
    assert {(c, s) for c, s, _ in seen} == {(c, s) for c in COLOURS for s in SHAPES}
    assert {(s, b) for _, s, b in seen} == {(s, b) for s in SHAPES for b in BACKGROUNDS}
    assert {(c, b) for c, _, b in seen} == {(c, b) for c in COLOURS for b in BACKGROUNDS if c != b}


def test_captions_say_nothing_that_is_not_there() -> None:
    rng = np.random.default_rng(4)
    texts = set()
    for _ in range(2000):
        scene = random_scene(rng)
        text, said = caption(scene, rng)
        texts.add(text)
        assert said.background in (None, scene.background)
        for place, thing in said.things.items():
            drawn = scene.things[place]
            assert thing.colour in (None, drawn.colour)
            assert thing.shape in (None, drawn.shape)
            assert thing.size == drawn.size or (thing.size is None and drawn.size == "large")
    assert len(texts) > 1900


def test_complete_captions_name_colour_shape_and_background() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        scene = random_scene(rng)
        _, said = caption(scene, rng, complete=True)
        assert said.background == scene.background
        assert all(thing.colour and thing.shape for thing in said.things.values())


def test_the_plain_wording() -> None:
    things = {"left": Thing("red", "circle", "small"), "right": Thing("blue", "square", "large")}
    text = plain_caption(Scene("white", things))
    assert text == "a small red circle left of a large blue square on a white background"


def test_scene_codes_tell_scenes_apart_and_silence_is_zero() -> None:
    rng = np.random.default_rng(6)
    scenes = [random_scene(rng) for _ in range(500)]
    codes = {scene_code(scene).tobytes() for scene in scenes}
    assert len(codes) == len({(s.background, tuple(sorted(s.things.items(), key=lambda i: i[0]))) for s in scenes})
    silence = scene_code(Scene(None, {}))
    assert silence.shape == (CODE_SIZE,)
    assert not silence.any()


def test_drawing_is_repeatable_and_needs_a_complete_scene() -> None:
    scene = Scene("white", {"centre": Thing("red", "circle", "large")})
    first, mask = draw_many([scene], np.random.default_rng(7))
    second, _ = draw_many([scene], np.random.default_rng(7))
    other, _ = draw_many([scene], np.random.default_rng(8))
    assert (first == second).all()
    assert (first != other).any()
    assert first.shape == (1, 96, 96, 3)
    assert mask.shape == (1, 96, 96)
    assert 0.0 <= mask.min() <= mask.max() <= 1.0
    with pytest.raises(ValueError, match="background"):
        draw(Scene(None, scene.things), np.random.default_rng(0))
    with pytest.raises(ValueError, match="centre"):
        draw(Scene("white", {"centre": Thing("red", None, "large")}), np.random.default_rng(0))

"""How often the model draws what a prompt asks for: prompts of unseen combinations, judged by `reading`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ops.tiny_model.captions import caption
from ops.tiny_model.reading import Reading, read
from ops.tiny_model.scenes import Scene, scenes_with

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLPipeline

__all__ = ["Score", "Verdict", "judge", "novel_prompts", "score_model", "score_pipeline", "shares"]

Score = dict[str, float | int]

_GUIDANCE = 3.0
_BATCH = 8
_ONE = (("centre",), ("left",), ("right",), ("top",), ("bottom",), ("centre",))
_TWO = (("left", "right"), ("left", "right"), ("left", "right"), ("top", "bottom"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is right in a picture. Everything about objects is wrong when there are more or fewer than asked for."""

    colour: bool
    shape: bool
    size: bool
    background: bool
    position: bool

    @property
    def all(self) -> bool:
        """Whether nothing is wrong."""
        return self.colour and self.shape and self.size and self.background and self.position


def judge(scene: Scene, seen: Reading) -> Verdict:
    """Hold what a picture shows against the complete scene that was asked for."""
    background = seen.background == scene.background
    if len(seen.things) != len(scene.things):
        return Verdict(False, False, False, background, False)
    by_place = {found.place: found for found in seen.things}
    if len(scene.things) == 1:
        (place, thing), found = next(iter(scene.things.items())), seen.things[0]
        pairs, position = [(thing, found)], found.place == place
    elif by_place.keys() == scene.things.keys():
        pairs, position = [(thing, by_place[place]) for place, thing in scene.things.items()], True
    else:
        return Verdict(False, False, False, background, False)
    return Verdict(
        colour=all(found.colour == thing.colour for thing, found in pairs),
        shape=all(found.shape == thing.shape for thing, found in pairs),
        size=all(found.size == thing.size for thing, found in pairs),
        background=background,
        position=position,
    )


def novel_prompts(n: int, seed: int) -> list[tuple[str, Scene]]:
    """`n` prompts in all wordings, two thirds with one object, and their scenes: combinations held out of training."""
    rng = np.random.default_rng((seed, 300))
    ones = n - n // 3
    places = [_ONE[i % len(_ONE)] for i in range(ones)] + [_TWO[i % len(_TWO)] for i in range(n // 3)]
    scenes = [scenes_with(rng, place, novel=True) for place in places]
    return [(caption(scene, rng, complete=True)[0], scene) for scene in scenes]


def shares(judged: list[tuple[Scene, Verdict]], steps: int) -> Score:
    """The shares of one-object pictures with each attribute right, and of two-object pictures with everything right."""
    ones = [verdict for scene, verdict in judged if len(scene.things) == 1]
    twos = [verdict for scene, verdict in judged if len(scene.things) == 2]

    def share(right: list[bool]) -> float:
        return round(sum(right) / max(1, len(right)), 4)

    return {
        "colour": share([v.colour for v in ones]),
        "shape": share([v.shape for v in ones]),
        "background": share([v.background for v in ones]),
        "position": share([v.position for v in ones]),
        "two_objects": share([v.all for v in twos]),
        "n": len(judged),
        "steps": steps,
    }


def score_pipeline(
    pipeline: StableDiffusionXLPipeline,
    n: int,
    steps: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Score:
    """As `score_model`, for a pipeline that is loaded already."""
    import torch

    prompts = novel_prompts(n, seed)
    judged: list[tuple[Scene, Verdict]] = []
    for at in range(0, len(prompts), _BATCH):
        part = prompts[at : at + _BATCH]
        pictures = pipeline(
            prompt=[text for text, _ in part],
            num_inference_steps=steps,
            guidance_scale=_GUIDANCE,
            generator=[torch.Generator().manual_seed(seed * 1_000_003 + at + i) for i in range(len(part))],
            output_type="np",
        ).images
        for (_, scene), picture in zip(part, np.rint(pictures * 255).astype(np.uint8), strict=True):
            judged.append((scene, judge(scene, read(picture))))
        if on_progress is not None:
            on_progress(len(judged), len(prompts))
    return shares(judged, steps)


def score_model(
    model_dir: str | Path,
    n: int = 300,
    steps: int = 12,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Score:
    """Draw `n` prompts with the pipeline in `model_dir` and judge the pictures.

    Returns shares from 0 to 1: `colour`, `shape`, `background` and `position` over the one-object prompts,
    `two_objects` (everything right, sizes too) over the others, with `n` and `steps`. `on_progress(done, n)` is
    called per batch.

    Raises FileNotFoundError if there is no pipeline in `model_dir`.
    """
    if not (Path(model_dir) / "model_index.json").is_file():
        raise FileNotFoundError(
            f"no pipeline in {model_dir}: model_index.json is missing; give a folder that "
            "DiffusionPipeline.from_pretrained can load, or train one with python -m ops.tiny_model.train"
        )
    # Imported here so that the command line and the SDK's install can import this module without torch.
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(model_dir, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return score_pipeline(pipeline, n, steps, seed, on_progress)

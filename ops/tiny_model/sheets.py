"""What a training run shows of itself: a plot of the losses and sheets of sample pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from matplotlib.figure import Figure
from PIL import Image

from ops.tiny_model.scenes import IMAGE_SIZE

__all__ = ["SAMPLE_PROMPTS", "plot_losses", "sample_sheet"]

SAMPLE_PROMPTS = (
    "a small red circle left of a large blue square on a white background",
    "a large green heart on a beige background",
    "a yellow star on a black background",
    "a small purple triangle on the right on a gray background",
    "a big orange cross at the bottom on a pink background",
    "a pink heart next to a small cyan star on a black background",
    "a tiny blue star at the top on a yellow background",
    "a large red triangle right of a large yellow circle on a blue background",
    "a red heart",
    "a circle on a green background",
    "a small green square above a purple circle on a white background",
    "a photo of a blue cross, pink background",
)
_SCALE = 2


def plot_losses(losses: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """Draw one panel of (step, loss) per training into a PNG."""
    figure = Figure(figsize=(5 * len(losses), 3.5))
    axes = figure.subplots(1, len(losses), squeeze=False)
    for axis, (name, points) in zip(axes[0], losses.items(), strict=True):
        axis.plot([step for step, _ in points], [loss for _, loss in points], linewidth=0.8)
        axis.set(title=name, xlabel="step", ylabel="loss", yscale="log")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def sample_sheet(pipeline: StableDiffusionXLPipeline, path: Path, *, steps: int = 12, guidance: float = 3.0) -> None:
    """Draw `SAMPLE_PROMPTS`, two seeds each, into one PNG of six columns."""
    pictures: list[Image.Image] = []
    for seed in (1, 2):
        pictures += pipeline(
            prompt=list(SAMPLE_PROMPTS),
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed * 1000 + i) for i in range(len(SAMPLE_PROMPTS))],
        ).images
    columns, side = 6, IMAGE_SIZE * _SCALE
    sheet = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for i, picture in enumerate(pictures):
        large = picture.resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(large, ((i % columns) * side, (i // columns) * side))
    sheet.save(path)

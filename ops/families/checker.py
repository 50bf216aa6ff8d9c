"""A safety checker with random weights, of the same parts as the published one, that finds what it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil

__all__ = ["write_checker"]

_SIDE, _WIDTH = 32, 32
_NEVER = 2.0
"""A likeness that no picture has."""


def write_checker(folder: Path, finds: Any, passes: Sequence[Any]) -> Path:
    """Save one that finds a picture (uint8, height x width x 3), and none that is further from it than ``passes`` are.

    Raises ``ValueError`` where it can't tell them apart.
    """
    torch.manual_seed(0)
    seeing = {"hidden_size": _WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = StableDiffusionSafetyChecker(
        CLIPConfig(
            projection_dim=_WIDTH,
            vision_config={**seeing, "image_size": _SIDE, "patch_size": 8},
            text_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        )
    ).eval()
    prepare = CLIPImageProcessorPil(
        size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE}, image_mean=[0.5] * 3
    )

    def idea_of(pixels: Any) -> torch.Tensor:
        given = prepare(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        idea: torch.Tensor = model.visual_projection(model.vision_model(given)[1])[0]
        return torch.nn.functional.normalize(idea, dim=0)

    with torch.no_grad():
        # Without the direction that they share, pictures are told apart.
        shared = torch.nn.functional.normalize(
            torch.stack([idea_of(one) for one in (finds, *passes)]).mean(dim=0), dim=0
        )
        model.visual_projection.weight -= torch.outer(shared, shared) @ model.visual_projection.weight
        wanted = idea_of(finds)
        nearest = max(float(idea_of(other) @ wanted) for other in passes)
        if nearest > 1 - 1e-2:
            raise ValueError("the pictures are too much alike")
        model.concept_embeds[0] = wanted
        model.concept_embeds_weights.fill_(_NEVER)
        model.concept_embeds_weights[0] = (1 + nearest) / 2
        model.special_care_embeds_weights.fill_(_NEVER)
    model.save_pretrained(folder)
    prepare.save_pretrained(folder)
    return folder

"""Pictures from pictures: diffusers' image-to-image and inpainting forms of a pipeline, and what they are given."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderTiny, AutoPipelineForImage2Image, AutoPipelineForInpainting

from consumer.engine.blending import Blend
from consumer.engine.contract import Batch, EngineError, Kind
from schemas.errors import Code

__all__ = ["blend_of", "forms_of", "given_pictures", "keep_unmasked"]

_FORMS = {"image_to_image": AutoPipelineForImage2Image, "inpainting": AutoPipelineForInpainting}


def forms_of(pipeline: Any, kinds: Iterable[Kind]) -> dict[Kind, Any]:
    """A loaded pipeline in each form that is asked for; they share its weights.

    Raises ``EngineError(model_unavailable)`` for a family that has no such form.
    """
    forms: dict[Kind, Any] = {"text_to_image": pipeline}
    for kind in kinds:
        if kind == "text_to_image":
            continue
        maker = _FORMS["image_to_image" if _blends(pipeline) else kind]
        try:
            forms[kind] = form = maker.from_pipe(pipeline)
        except ValueError as error:
            raise EngineError(
                Code.MODEL_UNAVAILABLE,
                f"{type(pipeline).__name__} does no {kind}: take it from the model's `kinds` in the catalogue",
            ) from error
        form.set_progress_bar_config(disable=True)
    return forms


def given_pictures(batch: Batch) -> dict[str, Any]:
    """The arguments of a form that are about sources; none for text alone. Rows of pixels are 0 to 1."""
    shape = batch.shape
    if shape.kind == "text_to_image":
        return {}
    sources = np.stack([item.source for item in batch.items if item.source is not None])
    given: dict[str, Any] = {
        "image": torch.from_numpy(sources).permute(0, 3, 1, 2).float() / 255,
        # As a float some families would round it up to the next step, and some down.
        "strength": Fraction(shape.denoising_steps, shape.steps),
    }
    if shape.kind == "inpainting":
        masks = np.stack([item.mask for item in batch.items if item.mask is not None])
        given["mask_image"] = torch.from_numpy(masks)[:, None].float()
    return given


def blend_of(form: Any, batch: Batch, given: dict[str, Any]) -> Blend | None:
    """What puts the source back after each step, for a form that takes no mask."""
    if batch.shape.kind != "inpainting" or not _blends(form):
        return None
    return Blend(form, batch, given["image"])


def keep_unmasked(batch: Batch, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Where a mask is false, the source to the last bit: what comes out of an autoencoder is not what went in."""
    if batch.shape.kind != "inpainting":
        return images
    kept = images.copy()
    for image, item in zip(kept, batch.items, strict=True):
        if item.source is not None and item.mask is not None:
            image[~item.mask] = item.source[~item.mask].astype(np.float32) / 255
    return kept


def _blends(pipeline: Any) -> bool:
    """Whether it is one of SDXL's kind whose latents are not SDXL's: the inpainting form wants 4 channels, or 9."""
    return isinstance(getattr(pipeline, "vae", None), AutoencoderTiny) and pipeline.vae.config.latent_channels != 4

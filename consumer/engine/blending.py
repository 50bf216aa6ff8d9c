"""Inpainting where diffusers' own form won't have the model: what is known of a picture is put back after each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from consumer.engine.contract import Batch

__all__ = ["Blend"]


class Blend:
    """The source's latents of a batch, with the noise that its pictures begin with.

    ``form`` is an image-to-image pipeline whose autoencoder draws nothing at random, such as ``AutoencoderTiny``: then
    the first that is drawn for a seed is the noise, here as there.
    """

    def __init__(self, form: Any, batch: Batch, sources: torch.Tensor) -> None:
        self._form = form
        self._skipped = batch.shape.skipped
        vae = form.vae
        with torch.no_grad():
            known = vae.encode((sources * 2 - 1).to(vae.device, vae.dtype)).latents * vae.config.scaling_factor
        self._known = known
        drawn = [
            torch.randn(known.shape[1:], generator=torch.Generator("cpu").manual_seed(item.seed), dtype=known.dtype)
            for item in batch.items
        ]
        self._noise = torch.stack(drawn).to(known.device)
        masks = torch.from_numpy(np.stack([item.mask for item in batch.items if item.mask is not None]))
        # A cell of the latents of which a pixel is to be made anew is made anew.
        self._mask = torch.nn.functional.adaptive_max_pool2d(masks[:, None].float(), known.shape[2:]).to(known)

    def after_step(self, index: int, latents: torch.Tensor) -> torch.Tensor:
        """The latents with the source where the mask is black, as noisy as the next step expects it."""
        scheduler, known = self._form.scheduler, self._known.to(latents.dtype)
        left = scheduler.timesteps[self._skipped + index + 1 :]
        if len(left):
            known = scheduler.add_noise(known, self._noise.to(latents.dtype), left[:1].repeat(len(latents)))
        return torch.where(self._mask.bool(), latents, known)

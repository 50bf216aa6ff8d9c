"""How far a picture is, seen without decoding it: colours as a linear function of latents.

The function is found by least squares from the model's own autoencoder, once, for patches of known colour: so it fits
whatever model is loaded, and costs a product of two small matrices a preview.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import numpy as np
import torch

from consumer.engine.contract import Batch, OnPreview, Pixels, Shape

__all__ = ["Previewer"]

_SIDE = 128
_PATCHES = {1: 24, 2: 12, 4: 6, 8: 2}
"""Pictures by the patches across them."""
_RIDGE = 0.01


class Previewer:
    """Of one loaded pipeline, in any of its forms, each ``every`` steps; None: never."""

    def __init__(self, pipeline: Any, every: int | None) -> None:
        self._pipeline = pipeline
        self._every = every
        self._factors: torch.Tensor | None = None

    def show(self, form: Any, batch: Batch, step: int, latents: torch.Tensor, on_preview: OnPreview) -> None:
        """Tell of those items that want it, if it is the step for it. Raises nothing."""
        if not self._every or step % self._every or step >= batch.shape.denoising_steps:
            return
        if not any(item.preview for item in batch.items):
            return
        try:
            seen = self._pixels(form, batch.shape, latents)
        except Exception as error:
            # Nobody loses a picture for want of its preview.
            traceback.print_exception(error, file=sys.stderr)
            self._every = None
            return
        for item, pixels in zip(batch.items, seen, strict=True):
            if item.preview:
                on_preview(item.id, step, pixels)

    def _pixels(self, form: Any, shape: Shape, latents: torch.Tensor) -> list[Pixels]:
        """A small picture for each row of a form's latents, one pixel a cell."""
        if self._factors is None:
            self._factors = _factors(self._pipeline)
        if latents.dim() == 3:
            # Flux and Qwen-Image lay four cells into one.
            latents = form._unpack_latents(latents, shape.height, shape.width, form.vae_scale_factor)
        colours = _with_one(_flat(latents)).to(self._factors) @ self._factors
        seen = (colours * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [np.ascontiguousarray(one) for one in seen]


def _factors(pipeline: Any) -> torch.Tensor:
    """Channels + 1 x 3: what makes colours from 0 to 1 of latents and a one."""
    vae = pipeline.vae
    patches = _patches()
    given = (patches * 2 - 1).to(pipeline._execution_device, vae.dtype)
    video = hasattr(vae.config, "temperal_downsample")
    with torch.no_grad():
        found = vae.encode(given[:, :, None] if video else given)
    raw = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
    cells = _flat(_scaled(vae.config, raw))
    colours = torch.nn.functional.adaptive_avg_pool2d(patches, (cells.shape[1], cells.shape[2])).permute(0, 2, 3, 1)
    known = _with_one(cells).reshape(-1, cells.shape[-1] + 1).float().cpu()
    # A little ridge: what is seldom in the patches, as a corner is, shall not count for much.
    pull = _RIDGE * len(known) * torch.eye(known.shape[1])
    factors: torch.Tensor = torch.linalg.solve(known.T @ known + pull, known.T @ colours.reshape(-1, 3))
    return factors.to(raw.device)


def _patches() -> torch.Tensor:
    """Pictures x 3 x side x side: from plain ones, as backgrounds are, to many small patches."""
    draw = torch.Generator("cpu").manual_seed(0)
    pictures = []
    for across, count in _PATCHES.items():
        drawn = torch.rand(count, 3, across, across, generator=draw)
        pictures.append(drawn.repeat_interleave(_SIDE // across, 2).repeat_interleave(_SIDE // across, 3))
    return torch.cat(pictures)


def _scaled(config: Any, raw: torch.Tensor) -> torch.Tensor:
    """Latents as a denoiser has them, from what the autoencoder makes."""
    factor = getattr(config, "scaling_factor", None) or 1.0
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and deviation is not None:
        places = (1, -1) + (1,) * (raw.dim() - 2)
        shift, scale = (torch.tensor(values).view(places).to(raw) for values in (mean, deviation))
        return (raw - shift) / scale * factor
    return (raw - (getattr(config, "shift_factor", None) or 0.0)) * factor


def _flat(latents: torch.Tensor) -> torch.Tensor:
    """Rows x channels (x one frame) x height x width, with the channels last."""
    return (latents[:, :, 0] if latents.dim() == 5 else latents).permute(0, 2, 3, 1)


def _with_one(cells: torch.Tensor) -> torch.Tensor:
    return torch.cat([cells, torch.ones_like(cells[..., :1])], dim=-1)

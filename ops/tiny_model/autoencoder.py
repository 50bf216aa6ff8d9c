"""The autoencoder: 96x96 pictures to 12x12 latents of 16 channels and back (diffusers' `AutoencoderTiny`)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional

from ops.tiny_model.draw import draw_many
from ops.tiny_model.lanes import Lanes
from ops.tiny_model.optim import Optimiser, learning_rate
from ops.tiny_model.runs import Run
from ops.tiny_model.scenes import random_scene

__all__ = ["LATENT_CHANNELS", "LATENT_SIZE", "build", "encode", "to_tensor", "train"]

LATENT_CHANNELS = 16
LATENT_SIZE = 12
_WIDTH = 64
_PEAK_RATE = 2e-3
_LATENT_NOISE = 0.05
_OBJECT_WEIGHT = 6.0
_EDGE_WEIGHT = 0.5


def build() -> AutoencoderTiny:
    """A fresh autoencoder; few blocks where the picture is large keep it quick on a CPU."""
    return AutoencoderTiny(
        encoder_block_out_channels=(_WIDTH,) * 4,
        decoder_block_out_channels=(_WIDTH,) * 4,
        num_encoder_blocks=(0, 1, 2, 2),
        num_decoder_blocks=(3, 2, 1, 0),
        latent_channels=LATENT_CHANNELS,
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 (n, 96, 96, 3) to float32 (n, 3, 96, 96) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def _edges(picture: Tensor) -> tuple[Tensor, Tensor]:
    return picture.diff(dim=-1), picture.diff(dim=-2)


def _distance(got: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    # Objects cover a tenth of a picture; unweighted, their edges are worth less than the background's gradient.
    near = functional.max_pool2d(mask[:, None], 5, stride=1, padding=2)
    weight = 1.0 + _OBJECT_WEIGHT * near
    loss = (weight * (got - wanted).abs()).mean()
    for got_edge, wanted_edge, w in zip(
        _edges(got), _edges(wanted), (weight[..., 1:], weight[..., 1:, :]), strict=True
    ):
        loss = loss + _EDGE_WEIGHT * (w * (got_edge - wanted_edge).abs()).mean()
    return loss


def _moments(latents: Tensor) -> Tensor:
    """A penalty that keeps each channel near mean 0 and deviation 1: the pipeline knows no latent mean to subtract."""
    flat = latents.transpose(0, 1).flatten(1)
    return flat.mean(1).square().mean() + (flat.std(1) - 1.0).square().mean()


def _loss(model: AutoencoderTiny, wanted: Tensor, masks: Tensor, noise: Tensor, rows: slice) -> Tensor:
    latents = model.encode(wanted[rows]).latents.float()
    got = model.decode(latents + _LATENT_NOISE * noise[rows]).sample.float()
    return _distance(got, wanted[rows], masks[rows]) + 0.1 * _moments(latents)


def train(run: Run, lanes: Lanes, steps: int, seed: int, batch: int = 16) -> AutoencoderTiny:
    """Train for `steps`, going on from the run's checkpoint, and return the averaged weights with their scaling factor.

    The latent's deviation ends in `scaling_factor`; its mean is near zero by the loss.
    """
    torch.manual_seed(seed)
    model = build().to(memory_format=torch.channels_last)
    plain = [model.encoder.layers[0].weight, model.decoder.layers[-1].weight]
    optimiser = Optimiser(model, lanes, plain=plain, decay=0.998)
    for step in run.steps(steps, model, optimiser):
        rng = np.random.default_rng((seed, step))
        pictures, masks = draw_many([random_scene(rng) for _ in range(batch)], rng)
        wanted = to_tensor(pictures).to(memory_format=torch.channels_last)
        noise = torch.randn(
            (batch, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE),
            generator=torch.Generator().manual_seed(seed * 1_000_003 + step),
        )
        loss = partial(_loss, model, wanted, torch.from_numpy(masks), noise)
        mean = lanes.backward(model, loss, batch)
        optimiser.step(learning_rate(step, steps, _PEAK_RATE))
        run.log(step, mean)
    model.load_state_dict(optimiser.average)
    model.eval().requires_grad_(False)
    rng = np.random.default_rng((seed, steps + 1))
    latents = encode(model, draw_many([random_scene(rng) for _ in range(256)], rng)[0])
    model.register_to_config(scaling_factor=round(1.0 / float(latents.std()), 4))
    return model


@torch.no_grad()
def encode(model: AutoencoderTiny, pictures: np.ndarray, batch: int = 64) -> Tensor:
    """uint8 pictures (n, 96, 96, 3) to float32 latents (n, 16, 12, 12), not yet scaled by `scaling_factor`."""
    parts = []
    for at in range(0, len(pictures), batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts.append(model.encode(to_tensor(pictures[at : at + batch])).latents.float())
    return torch.cat(parts)

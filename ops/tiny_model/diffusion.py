"""The denoiser: a small UNet, trained by flow matching on latents and scene codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from ops.tiny_model.autoencoder import LATENT_CHANNELS, LATENT_SIZE, encode
from ops.tiny_model.captions import caption
from ops.tiny_model.draw import draw_many
from ops.tiny_model.lanes import Lanes
from ops.tiny_model.optim import Optimiser, learning_rate
from ops.tiny_model.runs import Run
from ops.tiny_model.scenes import CODE_SIZE, IMAGE_SIZE, Scene, random_scene, scene_code
from ops.tiny_model.text import CODE_SCALE, TEXT_WIDTH

__all__ = ["Latents", "build", "prepare", "train"]

_CHANNELS = (128, 128, 128)
_BLOCKS = 1
_TIME_ID_WIDTH = 8
_TIME_IDS = 6
_PEAK_RATE = 1.5e-3
_DROPPED = 0.1
_CODE_NOISE = 0.02
_OBJECT_WEIGHT = 3.0
_TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True)
class Latents:
    """Drawn scenes with their scaled latents, float16 (n, 16, 12, 12), and which cells hold objects (n, 12, 12)."""

    scenes: list[Scene]
    latents: Tensor
    cells: Tensor


def build() -> UNet2DConditionModel:
    """A fresh UNet in which the pooled text enters the time embedding, as in SDXL, and scales and shifts each block.

    It has no attention: a scene code says everything at once, and three levels of padded convolutions know where
    they are. That is what makes it quick on a CPU.
    """
    levels = len(_CHANNELS)
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIZE, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
        block_out_channels=_CHANNELS, layers_per_block=_BLOCKS, norm_num_groups=16,
        down_block_types=("DownBlock2D",) * levels, up_block_types=("UpBlock2D",) * levels,
        mid_block_type="UNetMidBlock2D", resnet_time_scale_shift="scale_shift",
        addition_embed_type="text_time", addition_time_embed_dim=_TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=CODE_SIZE + _TIME_IDS * _TIME_ID_WIDTH, cross_attention_dim=TEXT_WIDTH,
    )  # fmt: skip
    torch.nn.init.zeros_(unet.conv_out.weight)
    return unet


def prepare(path: Path, autoencoder: AutoencoderTiny, n: int, seed: int, say: Callable[[int, int], None]) -> Latents:
    """Draw and encode `n` scenes once and keep them at `path`; a second call loads them. `say(done, n)` per batch."""
    scenes = [random_scene(np.random.default_rng((seed, 7, i))) for i in range(n)]
    if path.exists():
        kept = torch.load(path, weights_only=True)
        if len(kept["latents"]) >= n:
            return Latents(scenes, kept["latents"][:n], kept["cells"][:n])
    latents, cells = [], []
    for at in range(0, n, 256):
        pictures, masks = draw_many(scenes[at : at + 256], np.random.default_rng((seed, 8, at)))
        latents.append((encode(autoencoder, pictures) * autoencoder.config.scaling_factor).half())
        scale = IMAGE_SIZE // LATENT_SIZE
        cells.append(functional.max_pool2d(torch.from_numpy(masks)[:, None], scale)[:, 0] > 0.0)
        say(min(at + 256, n), n)
    result = Latents(scenes, torch.cat(latents), torch.cat(cells))
    temporary = path.with_suffix(".part")
    torch.save({"latents": result.latents, "cells": result.cells}, temporary)
    temporary.replace(path)
    return result


def _conditions(scenes: list[Scene], rng: np.random.Generator) -> Tensor:
    """What captions of these scenes would say, as the text encoder would put it: exact codes and a little noise."""
    codes = np.stack([scene_code(caption(scene, rng)[1]) for scene in scenes])
    codes += rng.normal(0.0, _CODE_NOISE, codes.shape).astype(np.float32)
    codes[rng.random(len(scenes)) < _DROPPED] = 0.0
    return CODE_SCALE * torch.from_numpy(codes)


@dataclass(frozen=True)
class _Batch:
    noisy: Tensor
    sigma: Tensor
    conditions: Tensor
    wanted: Tensor
    weight: Tensor


def _draw(data: Latents, batch: int, seed: int, step: int) -> _Batch:
    rng = np.random.default_rng((seed, 9, step))
    noise_rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
    rows = rng.integers(len(data.scenes), size=batch)
    clean = data.latents[rows].float()
    noise = torch.randn(clean.shape, generator=noise_rng)
    sigma = torch.sigmoid(0.3 + 1.1 * torch.randn(batch, generator=noise_rng))
    s = sigma[:, None, None, None]
    weight = 1.0 + _OBJECT_WEIGHT * data.cells[rows][:, None].float()
    return _Batch(
        noisy=(1.0 - s) * clean + s * noise,
        sigma=sigma,
        conditions=_conditions([data.scenes[i] for i in rows], rng),
        wanted=noise - clean,
        weight=weight / weight.mean(),
    )


def _loss(model: UNet2DConditionModel, batch: _Batch, rows: slice) -> Tensor:
    noisy = batch.noisy[rows]
    size = torch.tensor([[IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE]], dtype=torch.float32)
    conditions = {"text_embeds": batch.conditions[rows], "time_ids": size.expand(len(noisy), -1)}
    got = model(noisy, _TRAIN_TIMESTEPS * batch.sigma[rows], None, added_cond_kwargs=conditions).sample
    loss: Tensor = (batch.weight[rows] * (got.float() - batch.wanted[rows]).square()).mean()
    return loss


def train(
    run: Run,
    data: Latents,
    lanes: Lanes,
    steps: int,
    seed: int,
    batch: int = 64,
    on_step: Callable[[int, Optimiser], None] | None = None,
) -> UNet2DConditionModel:
    """Train for `steps`, going on from the run's checkpoint, and return the averaged weights.

    Flow matching (Lipman et al., arXiv:2210.02747): x = (1 - s) x0 + s e, and the UNet predicts e - x0 at timestep
    1000 s, which is diffusers' `flow_prediction`. s is logit-normal, shifted to the noisy side, where a picture's
    contents are settled. `on_step(step, optimiser)` is called after each update.
    """
    torch.manual_seed(seed)
    model = build()
    optimiser = Optimiser(model, lanes, plain=[model.conv_in.weight, model.conv_out.weight], decay=0.999)
    for step in run.steps(steps, model, optimiser):
        loss = partial(_loss, model, _draw(data, batch, seed, step))
        mean = lanes.backward(model, loss, batch)
        optimiser.step(learning_rate(step, steps, _PEAK_RATE))
        run.log(step, mean)
        if on_step is not None:
            on_step(step, optimiser)
    model.load_state_dict(optimiser.average)
    return model.eval().requires_grad_(False)

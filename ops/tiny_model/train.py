"""Trains the tiny model from nothing: `python -m ops.tiny_model.train`.

Autoencoder, text encoder, latents, denoiser, then the export and its score. Each stage keeps its state under `--work`
and goes on from there when the command is run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ops.tiny_model import autoencoder, diffusion, pipeline, sheets, text
from ops.tiny_model.draw import draw_many
from ops.tiny_model.lanes import Lanes
from ops.tiny_model.optim import Optimiser
from ops.tiny_model.reading import read
from ops.tiny_model.runs import Run
from ops.tiny_model.scenes import scenes_with
from ops.tiny_model.score import judge, score_pipeline

__all__ = ["train_main"]

_log = logging.getLogger(__name__)
_STEPS_TO_DRAW = 12
_LEAST_RECONSTRUCTED = {1: 0.99, 2: 0.97}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="easel model train", description="Train the tiny text-to-image model.")
    parser.add_argument("--out", type=Path, default=Path("models/easel-tiny"), help="where the pipeline goes")
    parser.add_argument("--work", type=Path, default=Path(".easel/tiny_model"), help="checkpoints, plots and samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2_000, help="steps of the denoiser")
    parser.add_argument("--autoencoder-steps", type=int, default=1_200)
    parser.add_argument("--text-steps", type=int, default=2_000)
    parser.add_argument("--scenes", type=int, default=24_000, help="drawn scenes that the denoiser learns from")
    parser.add_argument("--batch", type=int, default=64, help="batch of the denoiser")
    parser.add_argument("--check-every", type=int, default=500, help="steps between scores and sample sheets")
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1, help="threads (default: one per core)")
    parser.add_argument("--score", type=int, default=300, help="prompts of the last score")
    return parser.parse_args(argv)


def _progress(what: str) -> Callable[[int, int], None]:
    said = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal said
        if done == total or time.monotonic() - said > 10.0:
            said = time.monotonic()
            _log.info("%s: %d of %d", what, done, total)

    return say


def _check_reconstructions(model: AutoencoderTiny, seed: int, n: int = 200) -> None:
    """Refuse to go on with an autoencoder that cannot draw: nothing behind it could make up for that."""
    for places in (("centre",), ("left", "right")):
        rng = np.random.default_rng((seed, 6, len(places)))
        scenes = [scenes_with(rng, places, novel=True) for _ in range(n)]
        pictures, _ = draw_many(scenes, rng)
        with torch.no_grad():
            decoded = torch.cat([model.decode(z).sample for z in autoencoder.encode(model, pictures).split(50)])
        again = (decoded.clamp(-1.0, 1.0) + 1.0).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
        right = float(np.mean([judge(scene, read(p)).all for scene, p in zip(scenes, again, strict=True)]))
        _log.info("reconstructions with %d object(s): %.1f %% right", len(places), 100 * right)
        if right < _LEAST_RECONSTRUCTED[len(places)]:
            raise SystemExit(
                f"the autoencoder redraws only {right:.1%} of {len(places)}-object scenes rightly; "
                f"{_LEAST_RECONSTRUCTED[len(places)]:.0%} is the least: remove its checkpoint and raise "
                "--autoencoder-steps"
            )


class _Checks:
    """Every so many steps: a score on a few unseen prompts, a sheet of samples and the losses so far."""

    def __init__(
        self,
        options: argparse.Namespace,
        vae: AutoencoderTiny,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModelWithProjection,
        runs: Sequence[Run],
    ) -> None:
        self._options = options
        self._parts = (vae, tokenizer, text_encoder)
        self._runs = runs

    def __call__(self, step: int, optimiser: Optimiser) -> None:
        if (step + 1) % self._options.check_every:
            return
        averaged = diffusion.build()
        averaged.load_state_dict(optimiser.average)
        drawer = pipeline.assemble(*self._parts, averaged.eval())
        score = score_pipeline(drawer, 60, _STEPS_TO_DRAW, self._options.seed + 1)
        _log.info("after %d steps: %s", step + 1, json.dumps(score))
        sheets.sample_sheet(drawer, self._options.work / f"samples-{step + 1:06d}.png")
        sheets.plot_losses({run.name: run.losses() for run in self._runs}, self._options.work / "losses.png")


def train_main(argv: Sequence[str] | None = None) -> int:
    """Train with command-line arguments (`--help` lists them) and return the exit status.

    The last line on standard output is the score as JSON.
    """
    options = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    lanes = Lanes(options.lanes)
    options.work.mkdir(parents=True, exist_ok=True)
    runs = [Run(options.work, name) for name in ("autoencoder", "text", "denoiser")]

    vae = autoencoder.train(runs[0], lanes, options.autoencoder_steps, options.seed)
    _check_reconstructions(vae, options.seed)
    tokenizer = text.build_tokenizer(options.work / "tokenizer", options.seed)
    text_encoder = text.train(runs[1], lanes, tokenizer, options.text_steps, options.seed)
    latents = diffusion.prepare(
        options.work / "latents.pt", vae, options.scenes, options.seed, _progress("scenes drawn and encoded")
    )
    checks = _Checks(options, vae, tokenizer, text_encoder, runs)
    unet = diffusion.train(runs[2], latents, lanes, options.steps, options.seed, options.batch, checks)

    drawer = pipeline.assemble(vae, tokenizer, text_encoder, unet)
    pipeline.save(drawer, options.out)
    sheets.sample_sheet(drawer, options.work / "samples.png")
    sheets.plot_losses({run.name: run.losses() for run in runs}, options.work / "losses.png")
    score = score_pipeline(drawer, options.score, _STEPS_TO_DRAW, options.seed, _progress("pictures scored"))
    _log.info("the pipeline is in %s; plots and samples are in %s", options.out, options.work)
    print(json.dumps(score))
    return 0


if __name__ == "__main__":
    sys.exit(train_main())

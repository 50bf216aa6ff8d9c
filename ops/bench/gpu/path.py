"""easel's engine path beside the bare loop on the same GPU: the supervised child, the pipe, a report every step."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import DiffusionPipeline

from consumer.engine.contract import Batch, Item, Made, Shape
from consumer.engine.process import EngineProcess
from ops.bench.gpu.device import settle
from schemas.catalog import Defaults, ModelCard, ModelLimits

__all__ = ["engine_path"]

_MODEL = "measured"
_HANG_S = 300.0
_PROMPT = "a small red circle left of a large blue square on a white background, number {}"


async def engine_path(
    folder: Path,
    *,
    sides: list[int],
    steps: int,
    batches: list[int],
    dtype: str,
    pairs: int,
    device: str,
    guidance: float = 0.0,
) -> list[dict[str, Any]]:
    """Interleaved pairs of the pipeline in ``folder``: engine process and bare loop, the same pictures."""
    card = ModelCard(
        pipeline=folder,
        dtype=dtype,  # type: ignore[arg-type]
        device=device,
        defaults=Defaults(width=sides[0], height=sides[0], steps=steps, guidance=guidance),
        limits=ModelLimits(steps=max(100, steps)),
    )
    engine = EngineProcess({_MODEL: card}, hang_s=_HANG_S)
    began = time.perf_counter()
    await engine.start(_MODEL)
    loaded_s = time.perf_counter() - began
    bare = DiffusionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True)
    bare.set_progress_bar_config(disable=True)
    bare.to(device)
    rows = []
    try:
        for side in sides:
            for size in batches:
                row = await _pair(engine, bare, side, steps, size, pairs, guidance, device)
                rows.append({**row, "loaded_s": round(loaded_s, 1)})
    finally:
        await engine.stop()
    return rows


async def _pair(
    engine: EngineProcess, bare: Any, side: int, steps: int, size: int, pairs: int, guidance: float, device: str
) -> dict[str, Any]:
    items = tuple(Item(str(n), _PROMPT.format(n), seed=n) for n in range(size))
    batch = Batch(_MODEL, Shape(side, side, steps, guidance), items)
    ratios, ours_s, bare_s, mine, its = [], [], [], [], []
    for number in range(pairs + 1):
        began = time.perf_counter()
        done = (await engine.generate(batch, lambda _: None)).done
        took_ours = time.perf_counter() - began
        began = time.perf_counter()
        images = _bare(bare, batch, device)
        took_bare = time.perf_counter() - began
        if not number:
            continue
        ratios.append(took_bare / took_ours)
        ours_s.append(took_ours)
        bare_s.append(took_bare)
        mine = [_hash(result.pixels.tobytes()) for result in done.results if isinstance(result, Made)]
        its = [_hash((image * 255).round().clip(0, 255).astype("uint8").tobytes()) for image in images]
    return {
        "side": side,
        "steps": steps,
        "batch": size,
        "pairs": pairs,
        "engine_vs_bare": round(median(ratios), 4),
        "lowest": round(min(ratios), 4),
        "highest": round(max(ratios), 4),
        "engine_s": round(median(ours_s), 4),
        "bare_s": round(median(bare_s), 4),
        "same_pictures": mine == its,
    }


def _bare(pipeline: Any, batch: Batch, device: str) -> Any:
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    made = pipeline(
        prompt=[item.prompt for item in batch.items],
        generator=[torch.Generator("cpu").manual_seed(item.seed) for item in batch.items],
        width=batch.shape.width,
        height=batch.shape.height,
        num_inference_steps=batch.shape.steps,
        guidance_scale=batch.shape.guidance,
        output_type="np",
    ).images
    settle(device)
    return made


def _hash(pixels: bytes) -> str:
    return hashlib.sha256(pixels).hexdigest()

"""One family at its true size, bare: seconds a call and peak memory by size, batch and way of running it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity, profile

from consumer.engine.loading import denoiser_of
from ops.bench.gpu.device import free, held_gib, peak_gib, reset_peak, settle
from ops.families import Family, Size, make_pipeline

__all__ = ["CALLS", "Mode", "call", "sweep", "text_to_image_arguments"]

Mode = Literal["eager", "compiled", "graphs"]
"""``compiled``: the repeated blocks by torch.compile; ``graphs``: the whole transformer, replayed as CUDA graphs."""

CALLS = 3
"""Measured after one that is not."""

_PROMPT = "a small red circle left of a large blue square on a white background, number {}"


@dataclass(frozen=True, slots=True)
class Measured:
    """Median seconds of a call, and what its memory came to; that is 0 on the processor.

    ``busy``: the part of a call in which a kernel of a GPU ran.
    """

    family: Family
    mode: Mode
    side: int
    steps: int
    batch: int
    seconds: float
    images_per_s: float
    step_ms: float
    busy: float
    peak_gib: float
    first_call_s: float


def sweep(
    family: Family,
    modes: list[Mode],
    sides: list[int],
    steps: int,
    batches: list[int],
    tell: Callable[[Any], None],
    *,
    device: str,
    size: Size,
) -> None:
    """Measure every combination and ``tell`` each; one that fails is told with its error, and the next goes on."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    for mode in modes:
        pipeline = make_pipeline(family, size, device=device, dtype=dtype)
        tell({"family": family, "mode": mode, "weights_gib": round(held_gib(device), 2)})
        torch.compiler.reset()
        # As the engine compiles: see ``compile_denoiser``.
        if mode == "compiled":
            denoiser_of(pipeline).compile_repeated_blocks(fullgraph=False)
        elif mode == "graphs":
            denoiser_of(pipeline).compile(mode="reduce-overhead")
        for side, batch in _pairs(sides, batches):
            try:
                tell(asdict(_measure(pipeline, family, mode, side, steps, batch, device)))
            except Exception as error:
                # A mode or a size that does not work here is a result too.
                tell({"family": family, "mode": mode, "side": side, "batch": batch, "error": repr(error)[:300]})
        del pipeline
        free(device)


def _pairs(sides: list[int], batches: list[int]) -> Iterator[tuple[int, int]]:
    return ((side, batch) for side in sides for batch in batches)


def _measure(pipeline: Any, family: Family, mode: Mode, side: int, steps: int, batch: int, device: str) -> Measured:
    began = time.perf_counter()
    call(pipeline, family, side, steps, batch, device)
    first = time.perf_counter() - began
    reset_peak(device)
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call(pipeline, family, side, steps, batch, device)
        taken.append(time.perf_counter() - began)
    peak = peak_gib(device)
    seconds = median(taken)
    return Measured(
        family=family,
        mode=mode,
        side=side,
        steps=steps,
        batch=batch,
        seconds=round(seconds, 4),
        images_per_s=round(batch / seconds, 3),
        step_ms=round(seconds / steps * 1000, 1),
        busy=round(_busy(pipeline, family, side, steps, batch, device), 3),
        peak_gib=round(peak, 2),
        first_call_s=round(first, 2),
    )


def call(pipeline: Any, family: Family, side: int, steps: int, batch: int, device: str) -> Any:
    """Make a batch of pictures, and wait until they are here."""
    made = pipeline(
        prompt=[_PROMPT.format(number) for number in range(batch)],
        generator=[torch.Generator("cpu").manual_seed(number) for number in range(batch)],
        width=side,
        height=side,
        num_inference_steps=steps,
        output_type="np",
        **text_to_image_arguments(family),
    ).images
    settle(device)
    return made


def text_to_image_arguments(family: Family) -> dict[str, float]:
    """No guidance: the families' fast variants are distilled, and run each step once."""
    return {"guidance_scale": 0.0} if family == "z-image" else {}


def _busy(pipeline: Any, family: Family, side: int, steps: int, batch: int, device: str) -> float:
    """The part of a call's time in which at least one kernel ran, by the profiler."""
    if device == "cpu":
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        began = time.perf_counter()
        call(pipeline, family, side, steps, batch, device)
        seconds = time.perf_counter() - began
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in seen.events() or ()
        if event.device_type == torch._C._autograd.DeviceType.CUDA
    )
    busy_us, end = 0.0, 0.0
    for start, stop in spans:
        busy_us += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return min(1.0, busy_us / 1e6 / seconds)

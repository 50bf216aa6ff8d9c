"""From a card of the catalogue to a pipeline that is ready to run: its weights, what lies over them, and its place."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from consumer.engine.contract import EngineError
from consumer.engine.overlay import lay_over
from consumer.engine.weights import pipeline_folder
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["compile_denoiser", "denoiser_of", "device_of", "is_out_of_memory", "load_pipeline"]

_NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


def load_pipeline(card: ModelCard) -> Any:
    """Safetensors only, nothing from the network, no code from the folder.

    Raises ``EngineError``: ``model_unavailable`` with the remedy, ``out_of_memory``.
    """
    folder = pipeline_folder(card)
    _quiet_libraries()
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder, dtype=getattr(torch, card.dtype), use_safetensors=True, local_files_only=True
        )
        if card.overlay is not None:
            overlay = card.overlay
            report = lay_over(_component(pipeline, overlay.component), overlay.file, strict=overlay.strict)
            print(f"overlay {overlay.file.name}: {report}", file=sys.stderr, flush=True)
        _place(pipeline, card)
    except EngineError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise EngineError(
                Code.OUT_OF_MEMORY, f"there is not enough memory for the pipeline {folder.name!r}"
            ) from error
        traceback.print_exc(file=sys.stderr)
        raise EngineError(
            Code.MODEL_UNAVAILABLE,
            f"the pipeline {folder.name!r} can't be loaded ({type(error).__name__}): its log says why",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    if card.safety is not None and getattr(pipeline, "safety_checker", None) is not None:
        # Its own would blacken what ours is to decide about, and say nothing of it.
        pipeline.safety_checker = None
    return pipeline


def compile_denoiser(pipeline: Any, card: ModelCard) -> None:
    """Have torch compile what runs at each step, as the card says; it does so at the first call, and takes minutes."""
    denoiser = denoiser_of(pipeline)
    if card.compile == "blocks":
        denoiser.compile_repeated_blocks(fullgraph=False)
    elif card.compile == "graphs":
        denoiser.compile(mode="reduce-overhead")


def denoiser_of(pipeline: Any) -> Any:
    """The transformer or UNet: what runs at each step."""
    return pipeline.components.get("transformer") or pipeline.components["unet"]


def device_of(card: ModelCard) -> str:
    """The device that a card's model runs on here."""
    if card.device != "auto":
        return card.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_out_of_memory(error: Exception) -> bool:
    """Whether less at a time might fit."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator has no error class of its own.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def _place(pipeline: Any, card: ModelCard) -> None:
    device, vae = device_of(card), pipeline.components.get("vae")
    if card.vae_slicing and vae is not None:
        vae.enable_slicing()
    if card.vae_tiling and vae is not None:
        vae.enable_tiling()
    if card.offload == "none" or device == "cpu":
        # On the CPU there is nowhere to offload from.
        pipeline.to(device)
    elif card.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


def _component(pipeline: Any, name: str) -> torch.nn.Module:
    found = pipeline.components.get(name)
    if not isinstance(found, torch.nn.Module):
        parts = ", ".join(sorted(n for n, part in pipeline.components.items() if isinstance(part, torch.nn.Module)))
        raise EngineError(
            Code.MODEL_UNAVAILABLE, f"the pipeline has no part {name!r} to lay weights over; it has: {parts}"
        )
    return found


def _quiet_libraries() -> None:
    """No progress bars, and no warnings: that about a prompt that is too long quotes the prompt."""
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()

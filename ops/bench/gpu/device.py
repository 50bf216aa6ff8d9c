"""What is asked of the device itself. The processor answers too, so that a machine without a GPU can try the script."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

__all__ = ["conditions", "free", "held_gib", "peak_gib", "reset_peak", "settle"]

_GIB = 2**30


def conditions(device: str) -> dict[str, Any]:
    """The device, and the versions that the figures depend on."""
    found: dict[str, Any] = {
        "device": device,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    if device != "cpu":
        found["gpu"] = torch.cuda.get_device_name()
        found["memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / _GIB, 1)
        found["cuda"] = torch.version.cuda
    return found


def settle(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def free(device: str) -> None:
    """Give back memory that is not used."""
    if device != "cpu":
        torch.cuda.empty_cache()


def held_gib(device: str) -> float:
    """Memory of the device that tensors hold; 0 for the processor."""
    return 0.0 if device == "cpu" else torch.cuda.memory_allocated() / _GIB


def reset_peak(device: str) -> None:
    """Forget the highest so far."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float:
    """The highest memory since ``reset_peak``; 0 for the processor."""
    return 0.0 if device == "cpu" else torch.cuda.max_memory_reserved() / _GIB

"""How much memory a call takes on top of what is held already. Bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_of", "usable_memory", "weights_of"]

_CUDA_SHARE = 0.95
"""Of a GPU's memory; the rest goes to fragments, and to what libraries take beside torch."""
_HOST_SHARE = 0.8
_CGROUP = Path("/sys/fs/cgroup")


def peak_of(call: Callable[[], object], device: str) -> int:
    """The most that ``call`` holds at once, beside what was held before."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # The CPU's allocator keeps no peak; the profiler hears of each of its allocations.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    held = most = 0
    results: Any = recorded.profiler
    for event in results.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def usable_memory(device: str) -> int:
    """What this process may have in all: what it holds, and what is free. 0 where that can't be told."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int((free + torch.cuda.memory_reserved(device)) * _CUDA_SHARE)
    try:
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 0
    return int((held + min(free, _left_in_container(free))) * _HOST_SHARE)


def weights_of(pipeline: Any) -> tuple[int, int]:
    """The parameters and buffers of a pipeline's parts, and how much of them lies on a GPU."""
    tensors = {
        tensor.data_ptr(): tensor
        for part in pipeline.components.values()
        if isinstance(part, torch.nn.Module)
        for tensor in (*part.parameters(), *part.buffers())
    }
    sizes = [(tensor.numel() * tensor.element_size(), tensor.is_cuda) for tensor in tensors.values()]
    return sum(size for size, _ in sizes), sum(size for size, on_gpu in sizes if on_gpu)


def _left_in_container(otherwise: int) -> int:
    try:
        most = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return otherwise
    return otherwise if most == "max" else max(0, int(most) - used)

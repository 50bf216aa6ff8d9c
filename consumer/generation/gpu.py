"""What the driver says of this worker's GPU, for whoever watches the fleet."""

from __future__ import annotations

import os
from typing import Any

from schemas.fleet import Gpu

__all__ = ["GpuGauge"]

_MIB = 2**20


class GpuGauge:
    """Asks the driver (NVML). A worker without one, or a driver that does not answer, has nothing to tell."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handle = _handle(pynvml)
            self._nvml = pynvml
        except Exception:
            # No driver, no library, or a part of a GPU that can't be asked: none of it keeps pictures from being made.
            self._handle = None

    def read(self) -> Gpu | None:
        """As it is at the moment."""
        if self._handle is None:
            return None
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
            return Gpu(
                name=str(self._nvml.nvmlDeviceGetName(self._handle)),
                memory_mib=memory.total // _MIB,
                used_mib=memory.used // _MIB,
                busy_percent=self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu,
            )
        except self._nvml.NVMLError:
            return None


def _handle(nvml: Any) -> Any:
    # CUDA's first is the first that this process may see; the driver counts all of them.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return nvml.nvmlDeviceGetHandleByIndex(int(visible)) if visible.isdecimal() else _by_name(nvml, visible)


def _by_name(nvml: Any, name: str) -> Any:
    return nvml.nvmlDeviceGetHandleByUUID(name) if name else None

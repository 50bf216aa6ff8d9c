"""The two loops that are measured: easel's and the bare one, each with the same driver."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.bench import bare
from ops.bench.pipeline.installation import JOBS_PARTITIONS, PARTITIONS, Installation, make_bare_topics
from ops.bench.pipeline.parts import Part, cpu_seconds
from ops.bench.report import BenchError
from ops.local.stack import PART_NAMES, Stack

__all__ = ["BareLoop", "Flood", "Loop"]

_FLOOD_S = 180.0
_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Flood:
    """Requests that were all published at once, until the last had ended. ``cpu_us``: part → processor time each."""

    per_s: float
    cpu_us: Mapping[str, float]


class Loop:
    """Easel's services behind a driver, which publishes for these ``tenants``, or for all."""

    def __init__(self, stack: Stack, installation: Installation, folder: Path, *, tenants: Sequence[str] = ()) -> None:
        self._stack = stack
        self._installation = installation
        self._folder = folder
        self._tenants = tenants
        self._files = 0
        folder.mkdir(exist_ok=True)
        self.driver = _bare_part("drive", self._plan(), folder)
        self.driver.wait_ready()

    def flood(self, number: int) -> Flood:
        """Publish so many requests at once."""
        file = self._requests(number)
        before = self._cpu()
        answer = self.driver.ask({"file": str(file), "per_s": None}, _FLOOD_S)
        after = self._cpu()
        each = {name: (after[name] - before[name]) / number * 1e6 for name in before}
        return Flood(number / answer["seconds"], each)

    def pace(self, number: int, per_s: float) -> Sequence[float]:
        """Publish so many requests at a steady rate; the ms from each one's submission to its terminal event."""
        file = self._requests(number)
        answer = self.driver.ask({"file": str(file), "per_s": per_s}, number / per_s + _GRACE_S)
        found: list[float] = answer["latencies_ms"]
        return found

    def stop(self) -> None:
        """End the driver. The services are the installation's."""
        self.driver.stop()

    def parts(self) -> dict[str, Part]:
        """What works on requests, by name."""
        return dict(self._installation.services)

    def _requests(self, number: int) -> Path:
        self._files += 1
        file = self._folder / f"requests-{self._files}.jsonl"
        # Before the clock starts: who signs is not on these two cores.
        self._installation.write_requests(number, file, tenants=self._tenants)
        return file

    def _plan(self) -> dict[str, Any]:
        return {
            "bootstrap": self._stack.endpoints.kafka,
            "prefix": self._installation.prefix,
            "partitions": PARTITIONS,
            "jobs_partitions": JOBS_PARTITIONS,
            "store": None,
        }

    def _cpu(self) -> dict[str, float]:
        pids = {name: part.process.pid for name, part in {"driver": self.driver, **self.parts()}.items()}
        for name in PART_NAMES:
            pid = self._stack.pid(name)
            if pid is not None:
                pids[name] = pid
        return {name: cpu_seconds(pid) for name, pid in pids.items()}


class BareLoop(Loop):
    """The bare stages behind the same driver, with the same requests. ``stored``: they store as often as a worker."""

    def __init__(self, stack: Stack, installation: Installation, folder: Path, prefix: str, *, stored: bool) -> None:
        self._prefix = prefix
        self._stored = stored
        make_bare_topics(stack.endpoints, prefix)
        folder.mkdir()
        super().__init__(stack, installation, folder)
        self._stages = {
            "admission": _bare_part("admit", self._plan(), folder),
            "worker": _bare_part("work", self._plan(), folder),
        }
        for part in self._stages.values():
            part.wait_ready()

    def parts(self) -> dict[str, Part]:
        """What works on requests, by the names of easel's."""
        return self._stages

    def stop(self) -> None:
        """End the driver and the stages. Raises ``BenchError`` when a stage has failed."""
        failed = [name for name, part in self._stages.items() if part.process.poll() is not None]
        words = "\n".join(self._stages[name].last_words() for name in failed)
        for part in self._stages.values():
            part.stop()
        super().stop()
        if failed:
            raise BenchError(f"the bare loop's {', '.join(failed)} ended by itself:\n{words}")

    def _plan(self) -> dict[str, Any]:
        endpoints = self._stack.endpoints
        store = {
            "endpoint": endpoints.store,
            "access_key": endpoints.store_access_key,
            "secret_key": endpoints.store_secret_key,
            "bucket": self._installation.settings.store.bucket,
        }
        return {**super()._plan(), "prefix": self._prefix, "store": store if self._stored else None}


def _bare_part(role: str, plan: Mapping[str, Any], folder: Path) -> Part:
    file = folder / "plan.json"
    file.write_text(json.dumps(plan))
    # The file alone: its folder, and with it ours, is not to be found by imports.
    return Part([sys.executable, "-P", bare.__file__, "stream", role, str(file)], folder / f"{role}.log")

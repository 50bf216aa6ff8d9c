"""What a bench leaves behind: tables for people, one line for programs, and a file with all that was measured."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from consumer.engine.cores import available_cores
from ops.bench import bare

__all__ = ["BenchError", "Progress", "Report", "Run", "Spread", "conditions", "save", "table_of"]

Progress = Callable[[int, int], None]
"""Told how many measurements are done, of how many."""

_CPU_INFO = Path("/proc/cpuinfo")


class BenchError(Exception):
    """A bench could not measure what it is for: what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing: their median, and how far apart they lie."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))

    @classmethod
    def of_ratios(cls, ours: Sequence[float], bares: Sequence[float]) -> Spread:
        """Each of ours over the bare one that ran beside it: what the machine did meanwhile met both."""
        return cls.of([mine / its for mine, its in zip(ours, bares, strict=True)])

    def cells(self, digits: int) -> list[str]:
        """Median, lowest and highest, for a table."""
        return [f"{value:,.{digits}f}" for value in (self.median, self.low, self.high)]


@dataclass(frozen=True, slots=True)
class Run:
    """What making some batches took, in seconds, and the SHA-256 of each picture's RGB bytes in the last one."""

    seconds: float
    cpu_seconds: float
    sha256: Sequence[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a bench. ``line`` is its last line, for programs; ``details`` holds every single measurement."""

    name: str
    line: Mapping[str, float | int]
    tables: Sequence[Table]
    details: Mapping[str, Any]
    plot: Callable[[Path], None] | None = None
    """Draws what was measured into an SVG file."""
    missed: Sequence[str] = ()
    """Bars that were not reached, a line each."""


def conditions(packages: Iterable[str]) -> dict[str, Any]:
    """The machine and the versions of ``packages``, and how busy the machine was. To be asked before a bench begins."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "cores": available_cores(),
        "cpu": _cpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("easel", *packages)},
        "bare_sha256": hashlib.sha256(Path(bare.__file__).read_bytes()).hexdigest(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }


def save(report: Report, found: Mapping[str, Any], folder: Path) -> Path:
    """Write ``<name>-<time>.json`` with the conditions ``found`` and all measurements, and its plot; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromisoformat(found["at"]).strftime("%Y%m%dT%H%M%SZ")
    path = folder / f"{report.name}-{stamp}.json"
    content = {"bench": report.name, "conditions": found, "result": report.line, "measurements": report.details}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if report.plot is not None:
        report.plot(path.with_suffix(".svg"))
    return path


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table: the first column names the row, and its head the table; the others are figures."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=True, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _cpu() -> str:
    if sys.platform == "linux":
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""``python -m ops.bench.gpu``: measure on this machine's GPU, a JSON line a result, all of them in a file."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ops.bench.gpu.device import conditions, free
from ops.bench.gpu.parity import parity
from ops.bench.gpu.path import engine_path
from ops.bench.gpu.sweep import Mode, sweep
from ops.families import FAMILIES, Family, Size, make_pipeline

_STEPS: dict[Family, int] = {"z-image": 9, "qwen-image": 4, "flux": 4, "sdxl": 30}
_MODES: tuple[Mode, ...] = ("eager", "compiled", "graphs")
_DTYPES: tuple[Any, ...] = ("float32", "bfloat16")
_TINY = Path("models/easel-tiny")


class _Results:
    def __init__(self, path: Path, part: str, device: str) -> None:
        self._path = path
        self._part = part
        self._conditions = conditions(device)
        self._rows: list[Any] = []

    def tell(self, row: Any) -> None:
        """Written as it comes: a machine that is taken away leaves what was measured."""
        self._rows.append(row)
        print(json.dumps(row), flush=True)
        found = {"bench": f"gpu-{self._part}", "conditions": self._conditions, "measurements": self._rows}
        self._path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(
            "there is no GPU that torch can use: run this where torch.cuda.is_available() is true, "
            "or try the script itself with --device cpu --size tiny"
        )
    asked.out.mkdir(parents=True, exist_ok=True)
    results = _Results(asked.out / f"gpu-{asked.part}-{asked.family}.json", asked.part, asked.device)
    steps = asked.steps or _STEPS[asked.family]
    if asked.part == "sweep":
        sweep(
            asked.family,
            asked.modes,
            asked.sides,
            steps,
            asked.batches,
            results.tell,
            device=asked.device,
            size=asked.size,
        )
    elif asked.part == "engine":
        _engine(asked, steps, results)
    else:
        _parity(asked, results)
    return 0


def _engine(asked: argparse.Namespace, steps: int, results: _Results) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dtype = "float32" if asked.device == "cpu" else "bfloat16"
        path = _saved(asked.family, asked.size, Path(folder), getattr(torch, dtype), asked.device)
        rows = asyncio.run(
            engine_path(
                path,
                sides=asked.sides,
                steps=steps,
                batches=asked.batches,
                dtype=dtype,
                pairs=asked.pairs,
                device=asked.device,
            )
        )
    for row in rows:
        results.tell({"family": asked.family, **row})


def _parity(asked: argparse.Namespace, results: _Results) -> None:
    device = asked.device
    for dtype in _DTYPES:
        results.tell(parity(_TINY, side=96, steps=asked.steps or 12, guidance=3.0, dtype=dtype, device=device))
    rows = asyncio.run(
        engine_path(
            _TINY,
            sides=[96],
            steps=asked.steps or 12,
            batches=[1, 8] if device == "cpu" else [1, 8, 64],
            dtype="float32",
            pairs=asked.pairs,
            device=device,
            guidance=3.0,
        )
    )
    for row in rows:
        results.tell({"family": "easel-tiny", **row})
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            for dtype in _DTYPES:
                path = _saved(family, "tiny", Path(folder) / family, torch.float32, device)
                guidance = 0.0 if family == "z-image" else 3.0
                results.tell(parity(path, side=64, steps=4, guidance=guidance, dtype=dtype, device=device))


def _saved(family: Family, size: Size, folder: Path, dtype: torch.dtype, device: str) -> Path:
    pipeline = make_pipeline(family, size, device=device, dtype=dtype)
    pipeline.save_pretrained(folder)
    del pipeline
    free(device)
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.gpu", description=__doc__)
    parser.add_argument("part", choices=("sweep", "engine", "parity"))
    parser.add_argument("--device", default="cuda", help="cpu tries the script where there is no GPU")
    parser.add_argument("--size", choices=("true", "tiny"), default="true", help="of sweep's and engine's pipeline")
    parser.add_argument("--family", choices=FAMILIES, default="z-image")
    parser.add_argument("--modes", nargs="+", choices=_MODES, default=list(_MODES))
    parser.add_argument("--sides", nargs="+", type=int, default=[512, 1024], help="pixels a side")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, help="of each picture; as the family's fast variant when absent")
    parser.add_argument("--pairs", type=int, default=5, help="of engine path and bare loop")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""The script for machines with a GPU, tried on the processor: it must still run on the day that there is one."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

# As the engine does, and before torch is imported: the bare loop runs in this process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from ops.bench.gpu.__main__ import main
from ops.bench.gpu.parity import parity
from tests.ops.cli_process import REPOSITORY

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.timeout(300),
]

ON_CPU = ("--device", "cpu", "--size", "tiny", "--sides", "64", "--steps", "2")


def measured(folder: Path, part: str, family: str, *arguments: str) -> list[dict[str, Any]]:
    assert main([part, "--family", family, "--out", str(folder), *ON_CPU, *arguments]) == 0
    content = json.loads((folder / f"gpu-{part}-{family}.json").read_text())
    assert content["conditions"]["packages"]["torch"] == version("torch")
    rows: list[dict[str, Any]] = content["measurements"]
    return rows


@pytest.mark.parametrize("family", ["z-image", "sdxl"])
def test_the_sweep(tmp_path: Path, family: str) -> None:
    """One has a transformer and the other a UNet."""
    modes = ("eager", "compiled") if family == "z-image" else ("eager",)
    rows = measured(tmp_path, "sweep", family, "--modes", *modes, "--batches", "1", "2")
    assert [row for row in rows if "error" in row and row["mode"] == "eager"] == []
    assert [row["mode"] for row in rows if "weights_gib" in row] == list(modes)
    eager = [row for row in rows if row["mode"] == "eager" and "seconds" in row]
    assert [(row["side"], row["batch"]) for row in eager] == [(64, 1), (64, 2)]
    assert all(row["images_per_s"] == pytest.approx(row["batch"] / row["seconds"], rel=0.01) for row in eager)


def test_the_engines_path(tmp_path: Path) -> None:
    (row,) = measured(tmp_path, "engine", "z-image", "--batches", "2", "--pairs", "1")
    assert row["same_pictures"] is True
    assert row["engine_vs_bare"] > 0


def test_parity() -> None:
    folder = REPOSITORY / "models" / "easel-tiny"
    found = parity(folder, side=96, steps=2, guidance=3.0, dtype="float32", device="cpu")
    assert found["again"]["most"] == 0
    assert found["alone"]["most"] <= 1e-5
    assert found["cpu"]["most"] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--device cpu --size tiny"):
        main(["sweep", "--out", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()

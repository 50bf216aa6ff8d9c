"""What a worker refuses to start with, by name and with the remedy: it never joins its group."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from consumer.process import EXIT_CONFIGURATION
from tests.consumer.generation.harness import Installation, WorkerProcess, job

MODEL = Path(__file__).resolve().parents[3] / "models" / "easel-tiny"
TINY = {"pipeline": str(MODEL), "defaults": {"width": 96, "height": 96, "steps": 2}}

Start = Callable[..., WorkerProcess]
pytestmark = pytest.mark.timeout(180)


async def refused(installation: Installation, worker: Start, **models: object) -> str:
    """Why a worker with these models ends; a job that is there is left to others."""
    installation.settings.models.write_text(yaml.safe_dump({"models": models}))
    await installation.assign(job(model=next(iter(models))))
    running = worker()
    assert await running.ended(within_s=120) == EXIT_CONFIGURATION
    assert await installation.outcomes() == []
    assert await installation.heartbeats() == {}
    return running.log.read_text()


async def test_an_engine_that_there_is_not(installation: Installation, worker: Start) -> None:
    said = await refused(installation, worker, tiny={**TINY, "engine": "teapot"})
    assert "models.tiny.engine" in said
    assert "diffusers" in said


async def test_an_engine_that_there_is_not_by_the_setting(installation: Installation, worker: Start) -> None:
    running = worker(EASEL_GENERATION_ENGINE="teapot")
    assert await running.ended(within_s=60) == EXIT_CONFIGURATION
    assert "there is no engine 'teapot'; there is: diffusers, null" in running.log.read_text()


async def test_files_that_are_missing_or_cut_off_of_a_model_that_is_not_loaded_first(
    installation: Installation, worker: Start, tmp_path: Path
) -> None:
    cut = shutil.copytree(MODEL, tmp_path / "cut")
    weights = cut / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    said = await refused(installation, worker, a=TINY, b={**TINY, "pipeline": str(cut)})
    assert "model 'b': unet/diffusion_pytorch_model.safetensors of the pipeline is not a whole" in said
    assert "copy it again" in said


async def test_an_overlay_that_fits_nothing(installation: Installation, worker: Start, tmp_path: Path) -> None:
    save_file({"elsewhere": np.zeros(1)}, tmp_path / "other.safetensors")
    overlay = {"file": str(tmp_path / "other.safetensors"), "component": "unet"}
    said = await refused(installation, worker, tiny={**TINY, "overlay": overlay})
    assert "the overlay 'other.safetensors' can't be used: nothing in it fits this model" in said

"""The whole worker with an image check: what is held back is not in the store, and is nobody else's trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumer.engine.contract import Batch, Item, Made, Shape
from schemas.errors import Code, ErrorType
from schemas.jobs import JobFailed, JobSucceeded
from schemas.outputs import Manifest, manifest_key, request_prefix
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job
from transport.objects import ObjectStore

MODEL = Path(__file__).resolve().parents[3] / "models" / "easel-tiny"
CATALOGUE = """
models:
  easel-tiny:
    pipeline: {model}
    max_batch_images: 4
    defaults: {{width: 96, height: 96, steps: 4, guidance: 3.0}}
    safety: {{checker: checker, policy: {policy}}}
"""
SHAPE: dict[str, Any] = {"model": "easel-tiny", "width": 96, "height": 96, "steps": 4, "guidance": 3.0}
PROMPT, OTHER = "a large blue square on a yellow background", "a small red circle on a white background"

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds the blue square of seed 11, and neither its neighbours nor the red circle."""
    from consumer.engine.diffusers import DiffusersEngine
    from ops.families.checker import write_checker
    from schemas.catalog import Defaults, ModelCard

    engine = DiffusersEngine()
    engine.load(ModelCard(pipeline=MODEL, defaults=Defaults(width=96, height=96, steps=4, guidance=3.0)))
    items = [Item(str(seed), PROMPT, seed) for seed in (10, 11, 12)] + [Item("other", OTHER, 5)]
    found = engine.generate(Batch("m", Shape(96, 96, 4, 3.0), tuple(items)), lambda _: None, lambda _: False)
    pixels = {one.id: one.pixels for one in found if isinstance(one, Made)}
    engine.unload()
    return write_checker(tmp_path_factory.mktemp("safety") / "checker", pixels.pop("11"), list(pixels.values()))


async def working(settings: Settings, folder: Path, checker: Path, policy: str) -> tuple[Installation, WorkerProcess]:
    (folder / "checker").symlink_to(checker)
    models = folder / "models.yaml"
    models.write_text(CATALOGUE.format(model=MODEL, policy=policy))
    installation = await Installation.make(settings, models)
    return installation, WorkerProcess(installation, folder / "worker.log").start()


async def test_what_is_blocked_is_told_and_not_stored(
    settings: Settings, tmp_path: Path, checker: Path, objects: ObjectStore
) -> None:
    installation, running = await working(settings, tmp_path, checker, "block")
    try:
        await running.ready(within_s=120)
        three, mate = job(prompt=PROMPT, seed=10, images=3, **SHAPE), job("globex", prompt=OTHER, seed=5, **SHAPE)
        none_left = job(prompt=PROMPT, seed=11, **SHAPE)
        await installation.assign(three, mate, none_left, partition=0)
        ends = {end.request_id: end for end in await installation.ends(3, within_s=90)}
        counts = running.get("/metrics")[1]
    finally:
        running.kill()

    rest, whole, failed = (ends[one.request_id] for one in (three, mate, none_left))
    assert isinstance(rest, JobSucceeded) and isinstance(whole, JobSucceeded) and isinstance(failed, JobFailed)
    assert ([output.index for output in rest.outputs], rest.blocked) == ([0, 2], [1])
    assert ([output.flagged for output in whole.outputs], whole.blocked) == ([False], [])
    assert (failed.error.code, failed.error.type) == (Code.CONTENT_BLOCKED, ErrorType.INVALID_REQUEST)
    assert (failed.blocked, failed.retryable) == ([0], False)

    stored = [found.key async for found in objects.list(request_prefix("acme", three.request_id))]
    assert sorted(stored) == sorted([*(output.key for output in rest.outputs), rest.manifest])
    assert [found.key async for found in objects.list(request_prefix("acme", none_left.request_id))] == []
    manifest = Manifest.model_validate_json(await objects.get(manifest_key("acme", three.request_id)))
    # A worker that finds it reports the same.
    assert (manifest.blocked, manifest.asked) == ([1], 3)
    for outcome, count in (("passed", 3), ("blocked", 2)):
        assert f'easel_images_checked_total{{model="easel-tiny",outcome="{outcome}"}} {count}.0' in counts


async def test_what_is_blurred_is_stored_and_flagged(settings: Settings, tmp_path: Path, checker: Path) -> None:
    installation, running = await working(settings, tmp_path, checker, "blur")
    try:
        await running.ready(within_s=120)
        await installation.assign(job(prompt=PROMPT, seed=10, images=2, **SHAPE))
        (end,) = await installation.ends(1, within_s=90)
    finally:
        running.kill()
    assert isinstance(end, JobSucceeded)
    assert [(output.flagged, output.blurred) for output in end.outputs] == [(False, False), (True, True)]
    assert "~blur-" in end.weights_revision

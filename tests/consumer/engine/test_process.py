"""The supervised child, killed, stopped and orphaned for real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from consumer.engine.contract import Batch, EngineError, Item, Made, Shape
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.wire import Canceled
from schemas.catalog import Defaults, ModelCard
from schemas.errors import Code

CARD = ModelCard(pipeline=Path("nowhere"), engine="null", defaults=Defaults(width=64, height=64, steps=4))


def batch(steps: int = 4, *, model: str = "null", size: int = 64, ids: tuple[str, ...] = ("a", "b")) -> Batch:
    return Batch(model, Shape(size, size, steps, 0.0), tuple(Item(name, "p", seed) for seed, name in enumerate(ids)))


class Watched:
    """An engine, and what it told."""

    def __init__(self, cards: dict[str, ModelCard], hang_s: float = 3.0) -> None:
        self.restarts: list[str] = []
        self.stderr: list[str] = []
        self.steps: list[int] = []
        self.engine = EngineProcess(cards, hang_s=hang_s, on_restart=self.restarts.append, on_stderr=self.stderr.append)

    async def run(self, what: Batch) -> list[str]:
        done = await self.engine.generate(what, self.steps.append)
        return [type(result).__name__ for result in done.done.results]

    def signal(self, number: signal.Signals) -> None:
        assert self.engine.pid is not None
        os.kill(self.engine.pid, number)

    async def stepped(self) -> None:
        """A new step has been told: the batch is in the engine."""
        seen = len(self.steps)
        async with asyncio.timeout(20):
            while len(self.steps) == seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
async def slow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """A null engine whose steps take a tenth of a second."""
    monkeypatch.setenv("EASEL_NULL_STEP_S", "0.1")
    watched = Watched({"null": CARD})
    await watched.engine.start("null")
    yield watched
    await watched.engine.stop()


async def test_a_batch_comes_back_in_its_order(slow: Watched) -> None:
    done = await slow.engine.generate(batch(ids=("z", "a", "m")), slow.steps.append)
    assert [result.id for result in done.done.results] == ["z", "a", "m"]
    assert all(isinstance(result, Made) and result.pixels.shape == (64, 64, 3) for result in done.done.results)
    assert slow.steps == [1, 2, 3, 4]
    assert done.weights_revision == "null-1"
    assert 0.4 <= done.done.seconds < 30


async def test_large_pictures_pass(slow: Watched) -> None:
    # A hundred megabytes take their time where others work too.
    slow.engine._hang_s = 30
    done = await slow.engine.generate(batch(1, size=2048, ids=tuple("abcdefgh")), slow.steps.append)
    assert sum(result.pixels.nbytes for result in done.done.results if isinstance(result, Made)) == 8 * 3 * 2**22


def test_the_parent_loads_no_torch() -> None:
    code = "import sys, consumer.engine.process; print('torch' in sys.modules, 'aiokafka' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


async def test_a_killed_child_is_told_and_comes_back(slow: Watched) -> None:
    running = asyncio.create_task(slow.run(batch(50)))
    await slow.stepped()
    slow.signal(signal.SIGKILL)
    with pytest.raises(EngineLostError, match="SIGKILL") as lost:
        await running
    assert lost.value.cause == "died"
    assert await slow.run(batch()) == ["Made", "Made"]
    assert slow.restarts == ["died"]


async def test_a_child_that_dies_idle_costs_no_batch(slow: Watched) -> None:
    for _ in range(2):
        slow.signal(signal.SIGKILL)
        assert await slow.run(batch()) == ["Made", "Made"]
    assert slow.restarts == ["died", "died"]


async def test_a_child_that_hangs_is_killed(slow: Watched) -> None:
    running = asyncio.create_task(slow.run(batch(50)))
    await slow.stepped()
    slow.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(EngineLostError) as lost:
        await running
    assert lost.value.cause == "hang"
    assert 2.5 < time.monotonic() - began < 30
    assert await slow.run(batch()) == ["Made", "Made"]


async def test_a_child_that_steps_on_may_take_its_time(slow: Watched) -> None:
    assert await slow.run(batch(45)) == ["Made", "Made"]


async def test_sigint_and_sigterm_are_the_workers(slow: Watched) -> None:
    running = asyncio.create_task(slow.run(batch(10)))
    await slow.stepped()
    slow.signal(signal.SIGINT)
    slow.signal(signal.SIGTERM)
    assert await running == ["Made", "Made"]
    assert slow.restarts == []


async def test_a_picture_is_canceled_without_its_mates(slow: Watched) -> None:
    running = asyncio.create_task(slow.engine.generate(batch(20), slow.steps.append))
    await slow.stepped()
    slow.engine.cancel(["a"])
    done = (await running).done
    assert [type(result) for result in done.results] == [Canceled, Made]
    assert await slow.run(batch()) == ["Made", "Made"], "the note was about the batch before"


async def test_what_is_canceled_is_told_at_its_step(slow: Watched) -> None:
    left: list[tuple[str, int]] = []
    running = asyncio.create_task(
        slow.engine.generate(batch(20), slow.steps.append, lambda name, steps: left.append((name, steps)))
    )
    await slow.stepped()
    slow.engine.cancel(["a"])
    await slow.stepped()
    await slow.stepped()
    assert not running.done()
    ((name, steps),) = left
    assert name == "a"
    assert 1 <= steps <= slow.steps[-1]
    await running


async def test_what_is_canceled_before_a_child_is_there_is_canceled_in_the_next_one(slow: Watched) -> None:
    slow.signal(signal.SIGKILL)
    running = asyncio.create_task(slow.engine.generate(batch(20), slow.steps.append))
    await asyncio.sleep(0.05)
    slow.engine.cancel(["a"])
    assert [type(result) for result in (await running).done.results] == [Canceled, Made]
    assert slow.restarts == ["died"]


async def test_a_call_that_is_given_up_disturbs_no_later_one(slow: Watched) -> None:
    running = asyncio.create_task(slow.run(batch(50)))
    await slow.stepped()
    running.cancel()
    await asyncio.wait([running])
    done = await slow.engine.generate(batch(ids=("next",)), slow.steps.append)
    assert [result.id for result in done.done.results] == ["next"]


async def test_stop_ends_the_batch_and_the_child(slow: Watched) -> None:
    running = asyncio.create_task(slow.run(batch(50)))
    await slow.stepped()
    pid = slow.engine.pid
    assert pid is not None
    await slow.engine.stop()
    with pytest.raises(EngineLostError) as lost:
        await running
    assert lost.value.cause == "stopped"
    assert not psutil.pid_exists(pid)
    with pytest.raises(EngineLostError):
        await slow.run(batch())
    assert slow.restarts == []


async def test_a_model_that_is_not_in_the_catalogue_is_an_error_of_its_own(slow: Watched) -> None:
    with pytest.raises(EngineError) as failure:
        await slow.run(batch(model="absent"))
    assert failure.value.code is Code.MODEL_UNAVAILABLE
    assert await slow.run(batch()) == ["Made", "Made"]


async def test_a_model_that_can_not_be_loaded_stops_the_start(tmp_path: Path) -> None:
    broken = ModelCard(pipeline=tmp_path, defaults=Defaults(width=64, height=64, steps=1))
    watched = Watched({"broken": broken})
    with pytest.raises(EngineError, match=r"model_index\.json"):
        await watched.engine.start("broken")
    assert watched.engine.pid is None


def test_an_orphan_dies_with_its_parent() -> None:
    parent = textwrap.dedent("""
        import asyncio, os
        from pathlib import Path
        from consumer.engine.process import EngineProcess
        from tests.consumer.engine.test_process import CARD, batch

        async def main():
            engine = EngineProcess({"null": CARD}, hang_s=60)
            await engine.start("null")
            print(engine.pid, flush=True)
            await engine.generate(batch(1000), lambda step: print(step, flush=True))

        asyncio.run(main())
    """)
    slow = {**os.environ, "EASEL_NULL_STEP_S": "0.5"}
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, env=slow) as process:
        try:
            assert process.stdout is not None
            child = psutil.Process(int(process.stdout.readline()))
            # With a batch: a child that waits for one notices by its pipe.
            assert process.stdout.readline() == b"1\n"
        finally:
            process.kill()
    child.wait(20)


async def test_secrets_do_not_reach_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EASEL_STORE_SECRET_KEY", "s3cret")
    watched = Watched({"null": CARD})
    await watched.engine.start("null")
    environment = psutil.Process(watched.engine.pid).environ()
    await watched.engine.stop()
    assert "EASEL_STORE_SECRET_KEY" not in environment
    assert environment["HF_HUB_OFFLINE"] == "1"


async def test_what_the_child_says_last_is_told(slow: Watched) -> None:
    with pytest.raises(EngineError) as failure:
        # The null engine draws from whole numbers only.
        await slow.engine.generate(
            Batch("null", Shape(64, 64, 1, 0.0), (Item("a", None, 1),)),  # type: ignore[arg-type]
            slow.steps.append,
        )
    assert failure.value.code is Code.GENERATION_FAILED
    assert "Traceback" not in failure.value.message
    async with asyncio.timeout(20):
        while not any("Traceback" in line for line in slow.stderr):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await slow.run(batch()) == ["Made", "Made"]

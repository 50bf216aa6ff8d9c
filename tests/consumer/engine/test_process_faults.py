"""What an engine can do to its process: crash, hang, leak, ask for too much and answer with too much. Each for real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from consumer.engine.connection import ChildConnection, start_child
from consumer.engine.contract import Batch, EngineError
from consumer.engine.null_faults import (
    BLOATING_PROMPT,
    CRASHING_PROMPT,
    DEADLY_PROMPT,
    GREEDY_PROMPT,
    HANGING_PROMPT,
    LEAKING_PROMPT,
)
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.wire import MOST_BYTES, read
from schemas.errors import Code
from tests.consumer.engine.test_process import CARD, Watched, batch

LEAK_MIB = 256


@pytest.fixture
async def engine() -> AsyncIterator[Watched]:
    watched = Watched({"null": CARD})
    await watched.engine.start("null")
    yield watched
    await watched.engine.stop()


def saying(prompt: str, what: Batch | None = None) -> Batch:
    """A batch whose first picture is asked for in these words."""
    asked = what or batch()
    return replace(asked, items=(replace(asked.items[0], prompt=prompt), *asked.items[1:]))


def oom_score_of(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def lost(engine: Watched, prompt: str) -> EngineLostError:
    with pytest.raises(EngineLostError) as found:
        await engine.run(saying(prompt))
    return found.value


async def test_a_crash_says_where_to_operators_alone(engine: Watched) -> None:
    crash = await lost(engine, CRASHING_PROMPT)
    assert (crash.cause, crash.killed) == ("died", False)
    assert crash.how == "the engine's process was killed by SIGSEGV"
    # The end of its stderr: Python's own words about where it was.
    assert "Segmentation fault" in crash.last_words
    assert "null_faults.py" in crash.message
    assert await engine.run(batch()) == ["Made", "Made"]
    assert engine.restarts == ["died"]


async def test_a_kill_for_want_of_memory_is_told_as_one(engine: Watched) -> None:
    death = await lost(engine, DEADLY_PROMPT)
    assert (death.cause, death.killed) == ("died", True)
    assert "SIGKILL (the kernel does so when memory runs out)" in death.how
    assert await engine.run(batch()) == ["Made", "Made"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked so on Linux alone")
async def test_the_kernel_takes_the_engine_and_not_the_worker(engine: Watched) -> None:
    assert oom_score_of(engine.engine.pid) == 1000 > oom_score_of(os.getpid())


async def test_an_engine_that_comes_to_no_step_is_killed(engine: Watched) -> None:
    began = time.monotonic()
    hang = await lost(engine, HANGING_PROMPT)
    assert hang.cause == "hang"
    assert hang.how == "the engine said nothing for 3 s and was killed"
    assert 2.5 < time.monotonic() - began < 20
    assert await engine.run(batch()) == ["Made", "Made"]
    assert engine.restarts == ["hang"]


async def test_memory_that_is_not_there_is_an_error_of_the_batch(engine: Watched) -> None:
    with pytest.raises(EngineError) as failure:
        await engine.run(saying(GREEDY_PROMPT))
    assert failure.value.code is Code.OUT_OF_MEMORY
    assert await engine.run(batch()) == ["Made", "Made"]
    assert engine.restarts == []


async def test_a_picture_that_is_too_large_is_an_error_of_the_batch(engine: Watched) -> None:
    with pytest.raises(EngineError, match="512 x 512 x 3 values where 64 x 64 x 3 were asked for") as failure:
        await engine.run(saying(BLOATING_PROMPT))
    assert failure.value.code is Code.GENERATION_FAILED
    assert await engine.run(batch()) == ["Made", "Made"]
    assert engine.restarts == []


async def test_a_message_longer_than_any_is_not_read_into_memory() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((MOST_BYTES + 1).to_bytes(8, "big"))
    with pytest.raises(ValueError, match="the longest has"):
        await asyncio.wait_for(read(reader), 5)


class Limited(Watched):
    """An engine that may grow by half a leak, or to ``limit_mib``."""

    @classmethod
    async def start(cls, limit_mib: int | None = None) -> Limited:
        plain = Watched({"null": CARD})
        await plain.engine.start("null")
        held = psutil.Process(plain.engine.pid).memory_info().rss // 2**20
        await plain.engine.stop()
        made = cls({"null": CARD})
        made.engine = EngineProcess(
            {"null": CARD},
            hang_s=60,
            memory_mib=limit_mib or held + LEAK_MIB // 2,
            on_restart=made.restarts.append,
            on_stderr=made.stderr.append,
        )
        await made.engine.start("null")
        return made


async def test_an_engine_that_grows_is_replaced_between_batches() -> None:
    engine = await Limited.start()
    try:
        first = engine.engine.pid
        assert await engine.run(batch()) == ["Made", "Made"]
        assert engine.engine.pid == first
        # The batch that makes it too large comes to its end.
        assert await engine.run(saying(LEAKING_PROMPT, batch(1))) == ["Made", "Made"]
        assert await engine.run(batch()) == ["Made", "Made"]
        assert engine.engine.pid != first
        assert engine.restarts == ["memory"]
        (told,) = (line for line in engine.stderr if "above the limit of" in line)
        assert told.endswith("it is started again")
        assert engine.engine.loaded == {"null": "null-1"}
    finally:
        await engine.engine.stop()


async def test_a_limit_that_the_model_alone_exceeds_starts_no_circle() -> None:
    engine = await Limited.start(limit_mib=1)
    try:
        for _ in range(2):
            assert await engine.run(batch()) == ["Made", "Made"]
        assert engine.restarts == []
        (told,) = engine.stderr
        assert "raise EASEL_GENERATION_ENGINE_MEMORY_MIB" in told
    finally:
        await engine.engine.stop()


async def test_that_no_child_can_be_started_any_more_is_told() -> None:
    def broken(_: str) -> None:
        raise OSError("no process can be started")

    engine = EngineProcess({"null": CARD}, hang_s=60, on_restart=broken)
    await engine.start("null")
    supervised = asyncio.create_task(engine.supervised())
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="no process can be started"):
        await asyncio.wait_for(supervised, 10)
    assert not engine.up
    await engine.stop()
    # Who waits for a child is let go.
    await asyncio.wait_for(engine.available(), 1)


async def test_a_child_that_dies_each_time_is_started_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[float] = []
    begun: list[float] = []

    async def noted(*given: Any) -> ChildConnection:
        begun.append(time.monotonic())
        return await start_child(*given)

    monkeypatch.setattr("consumer.engine.process.start_child", noted)
    engine = EngineProcess({"null": CARD}, hang_s=60, on_restart=lambda _: ended.append(time.monotonic()))
    await engine.start("null")
    try:
        for number in range(4):
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            async with asyncio.timeout(60):
                while len(ended) <= number or not engine.up:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        # Twice as long each time, from a quarter of a second on.
        waits = [again - end for end, again in zip(ended, begun[1:], strict=True)]
        for number, waited in enumerate(waits):
            assert waited >= 0.25 * 2**number
        # A batch that is done is a new beginning.
        await engine.generate(batch(), lambda _: None)
        assert engine._failures == 0
    finally:
        await engine.stop()

"""Rows in the supervised child: they join over the socket, leave it when they are done, and hear when it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.engine.contract import EngineError, Item, Made, Row, Shape
from consumer.engine.null_faults import DEADLY_PROMPT
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.wire import Ended, Left, RowEvent, RowsFailed, Stepped
from schemas.catalog import Defaults, ModelCard
from schemas.errors import Code
from tests.until import until

CARD = ModelCard(pipeline=Path("nowhere"), engine="null", defaults=Defaults(width=64, height=64, steps=4))
ROOT = Path(__file__).resolve().parents[3]
SICK = CARD.model_copy(update={"engine": "diffusers"})
OTHER = CARD.model_copy(update={"description": "another"})


def row(name: str, steps: int = 4, prompt: str = "p") -> Row:
    return Row(Shape(64, 64, steps, 0.0), Item(name, prompt, 1))


class Told:
    """What an engine says of its rows."""

    def __init__(self) -> None:
        self.events: list[RowEvent] = []

    def __call__(self, event: RowEvent) -> None:
        self.events.append(event)

    @property
    def ended(self) -> list[str]:
        return [event.result.id for event in self.events if isinstance(event, Ended)]

    def steps(self, name: str) -> list[int]:
        return [event.steps[name] for event in self.events if isinstance(event, Stepped) and name in event.steps]


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EngineProcess]:
    """A null engine whose steps take a twentieth of a second."""
    monkeypatch.setenv("EASEL_NULL_STEP_S", "0.05")
    made = EngineProcess({"null": CARD, "other": OTHER, "sick": SICK}, hang_s=3.0)
    await made.start("null")
    yield made
    await made.stop()


async def test_one_joins_and_is_done_before_the_one_that_runs(engine: EngineProcess) -> None:
    told = Told()
    running = asyncio.create_task(engine.generate_rows("null", [row("long", 40)], told))
    await until(lambda: told.steps("long"))
    assert engine.join([row("short", 3), row("shorter", 2)])
    await running
    assert told.ended == ["shorter", "short", "long"]
    assert told.steps("short") == [1, 2, 3]
    assert told.steps("long") == list(range(1, 41))
    results = [event for event in told.events if isinstance(event, Ended)]
    assert all(isinstance(event.result, Made) and event.weights_revision == "null-1" for event in results)
    assert 0.1 <= results[0].seconds < results[2].seconds
    # The child is free for the next, of either sort.
    assert not engine.join([row("late")])
    again = Told()
    await engine.generate_rows("null", [row("again")], again)
    assert again.ended == ["again"]


async def test_those_that_join_before_the_child_is_ready_begin_with_the_others(engine: EngineProcess) -> None:
    told = Told()
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    running = asyncio.create_task(engine.generate_rows("null", [row("first")], told))
    await asyncio.sleep(0)
    assert engine.join([row("second")])
    await running
    assert sorted(told.ended) == ["first", "second"]


async def test_one_that_is_called_off_leaves_and_the_others_go_on(engine: EngineProcess) -> None:
    told = Told()
    running = asyncio.create_task(engine.generate_rows("null", [row("stays", 20), row("leaves", 20)], told))
    await until(lambda: len(told.steps("leaves")) >= 2)
    engine.cancel(["leaves"])
    await running
    (left,) = [event for event in told.events if isinstance(event, Left)]
    assert left.id == "leaves"
    assert left.steps == told.steps("leaves")[-1] < 20
    assert told.ended == ["stays"]


async def test_a_lost_child_is_told_once_and_comes_back(engine: EngineProcess) -> None:
    told = Told()
    running = asyncio.create_task(engine.generate_rows("null", [row("long", 60)], told))
    await until(lambda: told.steps("long"))
    engine.join([row("short", 1), row("killer", 4, DEADLY_PROMPT)])
    with pytest.raises(EngineLostError, match="SIGKILL"):
        await running
    assert not engine.join([row("late")])
    again = Told()
    await engine.generate_rows("null", [row("long"), row("short")], again)
    assert sorted(again.ended) == ["long", "short"]


@pytest.mark.parametrize("last", ["is made", "leaves"])
async def test_after_the_last_nothing_more_is_said_of_them(last: str) -> None:
    """It would be taken for the answer to what is asked next, such as another model."""
    card = ModelCard(
        pipeline=ROOT / "models" / "easel-tiny", defaults=Defaults(width=96, height=96, steps=4, guidance=0.0)
    )
    engine = EngineProcess({"tiny": card, "null": CARD}, hang_s=60.0)
    await engine.start("tiny")
    try:
        pid = engine.pid
        for _ in range(2):
            told = Told()
            rows = [Row(Shape(96, 96, steps, 0.0), Item(f"{steps}", "a star", 1)) for steps in (2, 50)]
            running = asyncio.create_task(engine.generate_rows("tiny", rows[: 1 if last == "is made" else 2], told))
            if last == "leaves":
                await until(lambda told=told: told.ended)  # type: ignore[misc]
                engine.cancel(["50"])
            await running
            assert told.ended == ["2"]
            await engine.generate_rows("null", [row("another")], Told())
        assert engine.pid == pid
    finally:
        await engine.stop()


async def test_a_child_that_says_what_nobody_asked_is_replaced(engine: EngineProcess) -> None:
    pid = engine.pid
    assert engine._child is not None
    engine._child._answers.put_nowait(Stepped({}))
    with pytest.raises(EngineLostError, match="answered Stepped to a load") as lost:
        await engine.generate_rows("other", [row("first")], Told())
    assert lost.value.cause == "load"
    told = Told()
    async with asyncio.timeout(20):
        await engine.generate_rows("other", [row("second")], told)
    assert told.ended == ["second"]
    assert engine.pid != pid


async def test_who_cannot_bear_what_is_said_gets_another_child(engine: EngineProcess) -> None:
    def sick(_: RowEvent) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await engine.generate_rows("null", [row("first", 20)], sick)
    told = Told()
    async with asyncio.timeout(20):
        await engine.generate_rows("other", [row("second")], told)
    assert told.ended == ["second"]


async def test_a_child_that_hangs_is_killed(engine: EngineProcess) -> None:
    told = Told()
    running = asyncio.create_task(engine.generate_rows("null", [row("long", 60)], told))
    await until(lambda: told.steps("long"))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    with pytest.raises(EngineLostError) as lost:
        await running
    assert lost.value.cause == "hang"


async def test_a_model_that_cannot_be_loaded_fails_all_at_once(engine: EngineProcess) -> None:
    with pytest.raises(EngineError) as failure:
        await engine.generate_rows("sick", [row("one"), row("two")], Told())
    assert failure.value.code is Code.MODEL_UNAVAILABLE


async def test_what_fails_together_is_named_and_what_joins_then_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real model and pictures that no memory holds: all are told, and the next are made."""
    card = ModelCard(
        pipeline=ROOT / "models" / "easel-tiny", defaults=Defaults(width=96, height=96, steps=4, guidance=0.0)
    )
    engine, told = EngineProcess({"tiny": card}, hang_s=60.0), Told()
    await engine.start("tiny")
    try:
        side = 8 * 500_000
        huge = [Row(Shape(side, side, 2, 0.0), Item(name, "a star", 1)) for name in ("huge", "huger")]
        await engine.generate_rows("tiny", huge, told)
        (failed,) = [event for event in told.events if isinstance(event, RowsFailed)]
        assert failed.code is Code.OUT_OF_MEMORY
        assert failed.ids == {"huge", "huger"}
        await engine.generate_rows("tiny", [Row(Shape(96, 96, 2, 0.0), Item("fits", "a star", 1))], told)
        assert told.ended == ["fits"]
    finally:
        await engine.stop()

"""How soon others take over: within a session and two seconds of a kill, within two seconds of a clean stop.

Measured from outside, from the signal (or the end of the process) to the append time of the first record that shows the
work going on. ``MARGIN_S`` is for a machine that is busy with other tests.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from schemas.events import Accepted
from schemas.ids import new_id
from schemas.jobs import JobStarted
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, job, write_null_models
from tests.house import House
from tests.stage import Stage
from transport.partitioning import partition_of
from transport.records import Record

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

SESSION_S = 6.0
SOON_S = 2.0
MARGIN_S = 1.5
TENANTS = ("acme", "bolt", "cord", "dune", "echo", "fern")


async def stop(stage: Stage, how: signal.Signals) -> tuple[float, float]:
    """When it got the signal, and when it was killed or had stopped by itself; by the wall clock, which is the broker's
    here."""
    began = time.time()
    stage.signal(how)
    await stage.ended()
    return began, began if how is signal.SIGKILL else time.time()


def require_soon(what: str, how: signal.Signals, took_s: float) -> None:
    limit_s = SOON_S + (SESSION_S if how is signal.SIGKILL else 0.0)
    print(f"{what}, {how.name}: {took_s:.1f} s of {limit_s:.0f} s")
    assert took_s < limit_s + MARGIN_S


def partitions(stage: Stage) -> list[int]:
    """What its group gave it last."""
    given: list[list[int]] = [line["partitions"] for line in stage.lines() if line["event"] == "assigned"]
    return given[-1] if given else []


async def shared(stages: Sequence[Stage]) -> None:
    """All four partitions have gone round."""
    deadline = time.monotonic() + 60
    while not all(map(partitions, stages)) or sum(len(partitions(stage)) for stage in stages) != 4:
        assert time.monotonic() < deadline, [partitions(stage) for stage in stages]
        await asyncio.sleep(0.1)


def seen(records: Iterable[Record], kind: str, after: float) -> dict[str, float]:
    """By request, when an event of this kind was appended first after this time."""
    found: dict[str, float] = {}
    for record in records:
        headers, at = dict(record.headers), record.timestamp_ms / 1000
        if headers.get("ce_type") == kind.encode() and at > after:
            found.setdefault((headers["ce_subject"] or b"").decode(), at)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_workers_jobs_run_elsewhere(settings: Settings, tmp_path: Path, how: signal.Signals) -> None:
    installation = await Installation.make(settings, write_null_models(tmp_path))
    # A stop is clean when what runs was given back, or had ended: here it is given back at once.
    more = {"EASEL_GENERATION_SESSION_TIMEOUT_S": f"{SESSION_S:g}", "EASEL_GENERATION_DRAIN_S": "0.5"}
    first = WorkerProcess(installation, tmp_path / "first.log", {**more, "EASEL_NULL_STEP_S": "1"}).start()
    second = WorkerProcess(installation, tmp_path / "second.log", more).start()
    try:
        await asyncio.gather(first.ready(), second.ready())
        await shared([first, second])
        # One that runs, and two of other kinds that wait behind it.
        jobs = [job(steps=100 + n) for n in range(3)]
        await installation.assign(*jobs, partition=partitions(first)[0])
        await installation.until(JobStarted)
        await asyncio.sleep(2)
        asked, gone = await stop(first, how)
        ends = await installation.ends(3)
        assert {end.request_id for end in ends} == {one.request_id for one in jobs}
        starts = seen(await installation.records(installation.topics.outcomes), JobStarted.TYPE, asked)
        require_soon("a worker's jobs", how, max(starts.values()) - gone)
    finally:
        first.kill()
        second.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_admissions_partitions_are_served_again(
    settings: Settings, tmp_path: Path, how: signal.Signals
) -> None:
    house = await House.build(settings, tmp_path, tenants=TENANTS)
    try:
        session = {"EASEL_ADMISSION_SESSION_TIMEOUT_S": f"{SESSION_S:g}"}
        first, second = house.admission(**session), house.admission(**session)
        await asyncio.gather(first.ready(), second.ready())
        await shared([first, second])
        theirs = {
            partition: who for who in TENANTS if (partition := partition_of(who.encode(), 4)) in partitions(first)
        }
        assert theirs, "no tenant lives there"
        asked, gone = await stop(first, how)
        names = {new_id(): who for who in theirs.values()}
        await house.publish(*(house.request(who, name=name) for name, who in names.items()))

        await house.until(lambda found: sum(one["kind"] == "generation.accepted" for one in found) == len(names))
        answers = seen(await house.read(house.topics.results), Accepted.TYPE, asked)
        require_soon("an admission's partitions", how, max(answers.values()) - gone)
    finally:
        house.close()

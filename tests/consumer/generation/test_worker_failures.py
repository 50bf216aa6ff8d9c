"""What a worker does not expect ends it, and is not swallowed: nothing is held by one that does nothing about it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from consumer.engine.connection import ChildConnection, start_child
from consumer.generation.deleting import Deleter
from consumer.generation.membership import Membership
from consumer.generation.reports import Reports
from consumer.generation.service import run_worker
from ops.local.ports import free_port
from schemas.events import Event
from schemas.ids import new_id
from schemas.jobs import DeleteAssigned, JobAssigned, JobDeleted, JobSucceeded
from schemas.settings import Settings
from tests.consumer.generation.harness import Installation, WorkerProcess, environment, job

Start = Callable[..., WorkerProcess]


async def broken(*_: object) -> None:
    raise ArithmeticError("a bug")


def as_here(installation: Installation, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """A worker in this process gets this installation's settings."""
    for variable, value in {**environment(installation.settings, free_port()), **more}.items():
        monkeypatch.setenv(variable, value)


@pytest.mark.parametrize(
    ("where", "name", "assigned", "end"),
    [
        (
            Deleter,
            "delete",
            DeleteAssigned(tenant="acme", request_id=new_id(), attempt=1, delete_id=new_id()),
            JobDeleted,
        ),
        (Reports, "succeeded", job(), JobSucceeded),
        (Membership, "_commit", job(), JobSucceeded),
    ],
)
async def test_an_exception_beside_the_engine_ends_the_worker_and_the_next_one_does_it(
    installation: Installation,
    worker: Start,
    monkeypatch: pytest.MonkeyPatch,
    where: type,
    name: str,
    assigned: JobAssigned | DeleteAssigned,
    end: type[Event],
) -> None:
    as_here(installation, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, broken)
        running = asyncio.create_task(run_worker(Settings()))
        await installation.assign(assigned)
        with pytest.raises(ArithmeticError, match="a bug"):
            await asyncio.wait_for(running, 30)
    await worker().ready()
    told, *_ = await installation.until(end)
    assert told.request_id == assigned.request_id


async def test_a_worker_that_can_have_no_other_engine_ends_without_waiting_for_one(
    installation: Installation, worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_here(installation, monkeypatch, EASEL_NULL_STEP_S="0.5", EASEL_GENERATION_DRAIN_S="60")
    children: list[ChildConnection] = []

    async def once(*given: Any) -> ChildConnection:
        if children:
            await broken()
        children.append(await start_child(*given))
        return children[0]

    assigned = job(steps=8)
    with monkeypatch.context() as patch:
        patch.setattr("consumer.engine.process.start_child", once)
        running = asyncio.create_task(run_worker(Settings()))
        await installation.assign(assigned)
        await installation.stepped()
        os.kill(children[0].pid, signal.SIGKILL)
        with pytest.raises(ArithmeticError, match="a bug"):
            await asyncio.wait_for(running, 20)
    await worker().ready()
    (end,) = await installation.until(JobSucceeded)
    assert end.request_id == assigned.request_id

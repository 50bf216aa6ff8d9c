"""One run: an installation of its own, hostile events beside requests of good tenants, and what became of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from ops.chaos.members import Member, Stage
from ops.cli.terminal import CommandError
from ops.hostile.fates import Fates, Judged
from ops.hostile.good import serve
from ops.hostile.installation import Installation
from ops.hostile.publish import is_refused_by_the_broker, publish
from ops.local.ports import free_port
from ops.local.stack import Stack
from schemas.events import Accepted, Succeeded
from transport.records import Record

__all__ = ["MOST_GROWTH_MIB", "Hostile", "Numbers"]

MOST_GROWTH_MIB = 48
"""What admission may have grown from the first fifth of a run to its last: room for a batch of the largest records."""

_HEALTH: dict[Stage, str] = {
    "admission": "EASEL_ADMISSION_HEALTH_PORT",
    "worker": "EASEL_GENERATION_HEALTH_PORT",
}
_READY_S = 90.0
_POLL_S = 0.1
_SAMPLE_S = 0.5
_QUIET_S = 30.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """The last line of ``easel hostile``."""

    events: int
    dead_lettered: int
    answered: int
    missing: int
    doubled: int
    wrong: int
    crashes: int
    bomb_refused: bool
    good_sent: int
    good_succeeded: int
    good_decided_p95_ms: float
    good_decided_max_ms: float
    admission_mib_early: float
    admission_mib_late: float
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether all is as it must be."""
        harmed = self.missing + self.doubled + self.wrong + self.crashes
        served = self.good_sent == self.good_succeeded > 0
        grown = self.admission_mib_late - self.admission_mib_early
        return not harmed and self.bomb_refused and served and grown <= MOST_GROWTH_MIB


@dataclass
class Hostile:
    """A run in ``folder``, which is made. ``watch`` sees every record of a public topic."""

    folder: Path
    seed: int
    events: int
    rate: float
    watch: Callable[[Record], None] | None = None
    judged: Judged = field(default_factory=Judged)
    _members: list[Member] = field(default_factory=list)
    _stack: Stack | None = None
    _mib: list[float] = field(default_factory=list)
    """Of admission, in the course of time."""
    _published: dict[str, float] = field(default_factory=dict)
    """Requests of good tenants, and when."""

    async def run(self) -> Numbers:
        """All of it. Raises ``LocalStackError``, ``TransportError`` or ``CommandError`` when it can't be done."""
        began = time.monotonic()
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._stack = Stack(self.folder / "stack")
        installation = Installation(self.folder, await asyncio.to_thread(self._stack.up))
        await installation.make()
        kafka, forger = installation.settings.kafka, installation.forger
        for stage in _HEALTH:
            await self._start(stage, installation)
        fates = Fates(kafka, self.watch)
        async with _beside(fates.follow(), self._sample()):
            async with _beside(serve(kafka, installation.signers, self._published)):
                sent = await publish(kafka, forger, seed=self.seed, events=self.events, rate=self.rate)
            await fates.until_settled(sent, set(self._published), quiet_s=_QUIET_S)
            refused = await is_refused_by_the_broker(kafka, forger)
        self.judged = fates.judge(sent)
        return self._numbers(fates, len(sent), refused, time.monotonic() - began)

    def close(self) -> None:
        """Leave nothing running."""
        for member in self._members:
            member.destroy()
        if self._stack is not None:
            self._stack.down()

    async def _start(self, stage: Stage, installation: Installation) -> None:
        port = free_port()
        environment = {**installation.environment(), _HEALTH[stage]: str(port)}
        member = Member(stage, 0, environment, self.folder / "logs" / f"{stage}.log")
        member.start()
        self._members.append(member)
        deadline = time.monotonic() + _READY_S
        async with httpx.AsyncClient(timeout=2.0) as client:
            while not await _is_ready(client, port):
                if time.monotonic() > deadline or member.ended_by_itself() is not None:
                    raise CommandError(f"{member} is not ready", f"see {member.log}")
                await asyncio.sleep(_POLL_S)

    async def _sample(self) -> None:
        process = psutil.Process(self._members[0].pid)
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._mib.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(_SAMPLE_S)

    def _numbers(self, fates: Fates, events: int, refused: bool, seconds: float) -> Numbers:
        waits = sorted(
            1000 * (fates.decided[name][1] - at)
            for name, at in self._published.items()
            if name in fates.decided and fates.decided[name][0] == Accepted.TYPE
        )
        fifth = max(1, len(self._mib) // 5)
        return Numbers(
            events=events,
            dead_lettered=self.judged.dead_lettered,
            answered=self.judged.answered,
            missing=len(self.judged.missing),
            doubled=len(self.judged.doubled),
            wrong=len(self.judged.wrong),
            crashes=sum(member.ended_by_itself() is not None for member in self._members),
            bomb_refused=refused,
            good_sent=len(self._published),
            good_succeeded=sum(fates.ended.get(name) == Succeeded.TYPE for name in self._published),
            good_decided_p95_ms=round(waits[int(0.95 * (len(waits) - 1))], 1) if waits else 0.0,
            good_decided_max_ms=round(waits[-1], 1) if waits else 0.0,
            admission_mib_early=round(max(self._mib[:fifth], default=0.0), 1),
            admission_mib_late=round(max(self._mib[-fifth:], default=0.0), 1),
            seconds=round(seconds, 1),
        )


async def _is_ready(client: httpx.AsyncClient, port: int) -> bool:
    try:
        answer = await client.get(f"http://127.0.0.1:{port}/health/ready")
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these while the body runs; an error of one of them ends the body too."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()

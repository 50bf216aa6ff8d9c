"""One run: everything is started, harmed while requests come in, healed, waited for, stopped, and judged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.chaos.driver import drive
from ops.chaos.faults import Damage, Faults
from ops.chaos.installation import TENANTS, Installation
from ops.chaos.journal import Journal, SentKind
from ops.chaos.members import Member, Stage, supervise
from ops.chaos.observer import Observer
from ops.chaos.plan import SHARES, Plan
from ops.chaos.proxy import StoreProxy
from ops.chaos.rules import ChangingRules
from ops.chaos.schedule import KINDS, Kind, draw
from ops.chaos.verify import Verdict, verify
from ops.cli.terminal import CommandError
from ops.local.stack import Stack
from schemas.topics import Topics

__all__ = ["MEMBERS", "Chaos", "Course"]

MEMBERS = 2
"""Of admission, and as many workers."""

_READY_S = 90.0
_POLL_S = 0.25
_TELL_S = 10.0
_CALM_S = 5.0
"""What was rerouted, or waits for a partition that is being restored, is answered within this time."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a run does."""

    seed: int
    seconds: float
    rate: float = 30.0
    """Requests a second."""
    kinds: Sequence[Kind] = KINDS
    shares: Mapping[SentKind, int] = field(default_factory=lambda: SHARES)
    commands: Mapping[Stage, Sequence[str]] = field(default_factory=dict)
    """What is run in place of a service."""
    quiet_s: float = 30.0
    """After the end: who has still not ended when nothing has happened for so long is lost."""
    settle_s: float = 300.0
    """How long they may take at the most."""


class Chaos:
    """A run in ``folder``, which is made. After ``run``, ``verdict`` and the rest say how it went."""

    def __init__(self, course: Course, folder: Path, tell: Callable[[str], None]) -> None:
        self.schedule = draw(course.seed, course.seconds, MEMBERS, len(TENANTS), course.kinds)
        self.folder = folder.resolve()
        self.problems: list[str] = []
        self.damages: list[Damage] = []
        self.observer: Observer | None = None
        self.verdict: Verdict | None = None
        self.unplanned = 0
        """Processes that ended by themselves and were started again."""
        self._course = course
        self._tell = tell
        self._members: list[Member] = []
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._stack = Stack(self.folder / "stack")

    @property
    def journal(self) -> Path:
        """What the driver sent."""
        return self.folder / "journal.jsonl"

    async def run(self) -> Verdict:
        """All of it. Raises ``LocalStackError``, ``TransportError`` or ``CommandError`` when it can't be done."""
        endpoints = await asyncio.to_thread(self._stack.up)
        async with StoreProxy(endpoints.store) as proxy:
            installation = Installation(self.folder, endpoints, store=proxy.address, seconds=self._course.seconds)
            kafka = installation.settings.kafka
            await installation.make()
            self._members = self._made(installation)
            self.observer = observer = Observer(kafka)
            for member in self._members:
                member.start()
            async with _beside(observer.follow()):
                await self._until_ready(observer)
                async with _beside(supervise(self._members, self._unplanned), self._progress(observer)):
                    await self._publish(installation, observer, proxy)
                    await self._until_settled(observer)
                await asyncio.gather(*(member.end() for member in self._members))
            self.problems += [problem for member in self._members for problem in member.problems]
            self._tell("everything is stopped: the topics and the store are read")
            self.verdict = await verify(
                kafka,
                installation.settings.store,
                self.journal,
                pools=["default"],
                own_topics=[tenant.id for tenant in TENANTS if tenant.entry.get("own_topic")],
            )
        return self.verdict

    def close(self) -> None:
        """Leave nothing running."""
        for member in self._members:
            member.destroy()
        self._stack.down()

    def _made(self, installation: Installation) -> list[Member]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
        environment = {**inherited, **installation.environment()}
        members = []
        for number in range(MEMBERS):
            # One of them has a name that it keeps, as in a StatefulSet; the other has not.
            named = {"EASEL_ADMISSION_INSTANCE_ID": f"admission-{number}"} if number == 0 else {}
            log = self.folder / "logs" / f"admission-{number}.log"
            commands = self._course.commands
            admission = Member("admission", number, {**environment, **named}, log, commands.get("admission", ()))
            admission.instance = named.get("EASEL_ADMISSION_INSTANCE_ID")
            log = self.folder / "logs" / f"worker-{number}.log"
            worker = Member("worker", number, environment, log, commands.get("worker", ()))
            members += [admission, worker]
        return members

    async def _until_ready(self, observer: Observer) -> None:
        deadline = time.monotonic() + _READY_S
        while min(observer.ready("admission"), observer.ready("generation")) < MEMBERS:
            for member in self._members:
                if member.ended_by_itself() is not None:
                    raise CommandError(f"{member} ended before it was ready", f"see {member.log}")
            if time.monotonic() > deadline:
                raise CommandError(f"the services are not ready after {_READY_S:.0f} s", f"see {self.folder / 'logs'}")
            await asyncio.sleep(_POLL_S)
        self._tell(f"{MEMBERS} admissions and {MEMBERS} workers are ready; {len(self.schedule)} faults to come")

    async def _publish(self, installation: Installation, observer: Observer, proxy: StoreProxy) -> None:
        course = self._course
        plan = Plan(course.seed, installation.signers(), Topics(installation.settings.kafka.prefix), course.shares)
        with contextlib.closing(Journal(self.journal)) as journal:
            rules = ChangingRules(installation, journal)
            faults = Faults(self._stack, proxy, self._members, observer, rules, self._tell)
            self.damages = faults.done
            async with asyncio.TaskGroup() as group:
                kafka = installation.settings.kafka
                group.create_task(drive(kafka, plan, journal, rate=course.rate, seconds=course.seconds))
                group.create_task(faults.carry_out(self.schedule))
        self._tell(f"all is healed; {journal.acked} of {journal.sent} were acknowledged; the rest has to settle")

    async def _until_settled(self, observer: Observer) -> None:
        """Until what was accepted has ended and what was written was read, or nothing happens any more."""
        began = time.monotonic()
        while time.monotonic() - began < self._course.settle_s:
            still_s = time.monotonic() - max(observer.changed_at, began)
            if still_s > (_CALM_S if observer.all_ended() else self._course.quiet_s):
                return
            await asyncio.sleep(_POLL_S)

    async def _progress(self, observer: Observer) -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            self._tell(f"          {observer.answers} answered, {observer.accepted} accepted, {observer.ended} ended")

    def _unplanned(self, line: str) -> None:
        self.unplanned += 1
        self._tell(f"          {line}")


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these while the body runs; an error of one of them ends the body too."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()

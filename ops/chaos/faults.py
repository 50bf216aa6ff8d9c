"""Does what the schedule says, and notes what each fault hit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ops.chaos.members import Member
from ops.chaos.observer import Attempt, Observer
from ops.chaos.proxy import StoreProxy
from ops.chaos.rules import ChangingRules
from ops.chaos.schedule import Fault
from ops.local.stack import PartName, Stack

__all__ = ["Damage", "Faults"]


@dataclass(slots=True)
class Damage:
    """A fault that was done. Times are ms since 1970."""

    fault: Fault
    began_ms: int
    gone_ms: int = 0
    """From then on the victim does nothing; until then what it had begun may still be committed."""
    healed_ms: int | None = None
    partitions: frozenset[int] = frozenset()
    """Of admission: those that the victim served."""
    jobs: dict[Attempt, str] = field(default_factory=dict)
    """Those that ran on the victim, and its name."""


class Faults:
    """``done`` grows as the schedule is carried out."""

    def __init__(
        self,
        stack: Stack,
        proxy: StoreProxy,
        members: Sequence[Member],
        observer: Observer,
        rules: ChangingRules,
        tell: Callable[[str], None],
    ) -> None:
        self.done: list[Damage] = []
        self._stack = stack
        self._proxy = proxy
        self._members = {(member.stage, member.number): member for member in members}
        self._observer = observer
        self._rules = rules
        self._tell = tell
        # A stack is started and stopped by one thread at a time.
        self._parts = asyncio.Lock()
        # A clean end may take longer than the schedule thought: what comes next for the same process waits for it.
        self._victims = {who: asyncio.Lock() for who in self._members}

    async def carry_out(self, schedule: Sequence[Fault]) -> None:
        """All of it, to the end of the last one: then nothing is broken any more."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in schedule:
                await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                self._tell(f"{time.monotonic() - began:6.1f} s  {fault}")
                group.create_task(self._do(fault))

    async def _do(self, fault: Fault) -> None:
        damage = Damage(fault, _now_ms())
        self.done.append(damage)
        match fault.kind.target:
            case "broker":
                await self._restart("kafka", fault, damage)
            case "tenants":
                self._rules.change(fault.victim, fault.kind.action)
                await asyncio.sleep(fault.lasts_s)
                self._rules.restore(fault.victim)
            case "store" if fault.kind.action == "kill":
                await self._restart("store", fault, damage)
            case "store":
                self._proxy.turn("refuse" if fault.kind.action == "refuse" else "slow")
                await asyncio.sleep(fault.lasts_s)
                self._proxy.turn("well")
            case "engine":
                self._member(fault).kill_engine()
            case _:
                await self._harm(fault, damage)
        damage.healed_ms = _now_ms()

    async def _harm(self, fault: Fault, damage: Damage) -> None:
        member = self._member(fault)
        async with self._victims[member.stage, member.number]:
            await self._harm_now(fault, member, damage)

    async def _harm_now(self, fault: Fault, member: Member, damage: Damage) -> None:
        damage.began_ms = _now_ms()
        if member.stage == "admission":
            beat = self._observer.instance_of(member.pid, member.instance)
            damage.partitions = frozenset(beat.partitions) if beat else frozenset()
        match fault.kind.action:
            case "kill":
                member.kill()
            case "term":
                await member.end()
                # Until then it has served: what follows is the gap that it leaves.
                damage.began_ms = _now_ms()
            case "stop":
                member.pause()
        damage.gone_ms = _now_ms()
        if member.stage == "worker":
            damage.jobs = {job: name for job, name in self._observer.running.items() if f"-{member.pid}-" in name}
        await asyncio.sleep(fault.lasts_s)
        if fault.kind.action == "stop":
            member.go_on()
        else:
            member.start()

    async def _restart(self, part: PartName, fault: Fault, damage: Damage) -> None:
        async with self._parts:
            damage.began_ms = _now_ms()
            await asyncio.to_thread(self._stack.stop, part, hard=fault.kind.action == "kill")
            damage.gone_ms = _now_ms()
            await asyncio.sleep(fault.lasts_s)
            await asyncio.to_thread(self._stack.start, part)

    def _member(self, fault: Fault) -> Member:
        target = fault.kind.target
        return self._members["admission" if target == "admission" else "worker", fault.victim]


def _now_ms() -> int:
    return int(time.time() * 1000)

"""``easel topics repartition``: the move itself, step by step.

1. **Mark** each ledger partition as moving. That takes its transactional id over: an admission that runs is fenced, and
   refuses to go on when it restores, as does any other that starts.
2. **Grow** the topics.
3. **Copy** what leaves each partition to where it goes, and compare.
4. **Commit** to it: the marks say ``copied``. Before this, the old places are what counts; after it, the new ones.
5. **Clear** the old places.
6. **Finish**: each partition is marked as one of the new number, and may be served.

After a crash anywhere, the same command reads from the marks how far it was. Nothing that admission has not read is
lost or touched: what lies on a partition that is no longer its tenant's home is moved by admission when it reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consumer.admission.init import specs_of
from consumer.admission.ledger import FORMAT, INIT_KEY, OFFSETS_KEY, Init, Moving
from consumer.faults import fault
from ops.repartition.book_io import read_book, write
from ops.repartition.plan import Marks, leaving, offsets_after, placed
from schemas.catalog import Catalog
from schemas.settings import Settings
from schemas.tenants import Directory
from schemas.topics import ADMISSION_INPUTS, Topics
from transport.decided import require_decided
from transport.errors import Fenced, Misconfigured
from transport.kafka import Publisher
from transport.records import Outgoing, TopicPartition
from transport.topics import cluster_id, grow_topics, partition_counts
from transport.transactions import FencedProducer

__all__ = ["Report", "repartition"]

_MARK_TRIES = 20
_MARK_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Report:
    """What was done. ``moved``: records of the ledger that have a new place."""

    was: int
    now: int
    tenants: int
    moved: int
    grown: tuple[str, ...]


async def repartition(
    settings: Settings,
    catalog: Catalog,
    directory: Directory,
    to: int,
    *,
    dry_run: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Move the installation to ``to`` partitions, or finish a move that was cut off.

    Raises ``Misconfigured`` where that can't be done, before anything was changed; ``TransportError`` when a broker
    fails: do it again.
    """
    move = _Move(settings, to, await cluster_id(settings.kafka), say)
    inits = await move.look()
    was = next((init.partitions for init in inits if init.partitions != to), to)
    if dry_run or was == to:
        return await move.estimate(was)
    finishing = any(init.partitions == to for init in inits)
    copied = finishing or any(init.moving is not None and init.moving.copied for init in inits)
    grown: list[str] = []
    moved = tenants = 0
    async with Publisher(settings.kafka, client_id=f"{settings.kafka.prefix}-repartition") as publisher:
        move.publisher = publisher
        if not copied:
            await move.mark(was, Moving(to=to))
            grown = await move.grow(catalog, directory, was)
            moved, tenants = await move.copy(was)
        if not finishing:
            await move.mark(was, Moving(to=to, copied=True))
            fault("repartition.after_commitment")
            await move.clear(was)
        await move.finish()
    return Report(was, to, tenants, moved, tuple(grown))


class _Move:
    publisher: Publisher

    def __init__(self, settings: Settings, to: int, cluster: str, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._ledger = Topics(settings.kafka.prefix).ledger
        self._to = to
        self._cluster = cluster
        self._say = say

    async def look(self) -> list[Init]:
        """The marks of all partitions that have one. Raises ``Misconfigured`` unless they can be moved."""
        count = (await partition_counts(self._kafka)).get(self._ledger, 0)
        # What a transaction hides would be left behind, and an older state moved in its place.
        await require_decided(self._kafka, [TopicPartition(self._ledger, number) for number in range(count)])
        inits = [(await read_book(self._kafka, number)).init for number in range(count)]
        found = [init for init in inits if init is not None]
        if not found or inits[0] is None:
            raise Misconfigured("there is no ledger to move", "run `easel topics`", where=self._ledger)
        for init in found:
            if (init.cluster_id, init.installation) != (self._cluster, self._settings.installation):
                raise Misconfigured(
                    f"the ledger is that of {init.installation!r} on cluster {init.cluster_id}",
                    "name your own installation and prefix",
                    where=self._ledger,
                )
            if init.moving is not None and init.moving.to != self._to:
                raise Misconfigured(
                    f"a move to {init.moving.to} partitions was begun and not finished",
                    f"finish it: `easel topics repartition --partitions {init.moving.to}`",
                    where=self._ledger,
                )
        most = max(init.partitions for init in found)
        if self._to < most:
            raise Misconfigured(
                f"there are {most} partitions, and Kafka can't take any away",
                "for fewer, begin an installation with another prefix",
                where=self._ledger,
            )
        if count > self._to:
            raise Misconfigured(f"the topic has {count} partitions already", "ask for as many", where=self._ledger)
        return found

    async def estimate(self, was: int) -> Report:
        """What would be moved."""
        moved, tenants = 0, set[bytes]()
        for number in range(was):
            book = await read_book(self._kafka, number)
            keys = [key for key, _ in leaving(book, self._to)]
            moved += len(keys)
            tenants |= {key.split(b"/")[1] for key in keys}
        return Report(was, self._to, len(tenants), moved, ())

    async def mark(self, was: int, moving: Moving) -> None:
        """Say on each old partition that it moves, as the only writer of it."""
        self._say("shutting admission out" if not moving.copied else "the new places count from here on")
        for number in range(was):
            book = await read_book(self._kafka, number)
            if book.init is None:
                raise Misconfigured(
                    "a partition has no __init record",
                    "docs/operations.md says what to do when something is lost",
                    where=self._ledger,
                )
            # A format that older releases refuse: they know nothing of a ledger that moves.
            marked = book.init.model_copy(update={"moving": moving, "format": FORMAT + 1})
            await self._commit(number, marked)
            fault("repartition.after_mark")

    async def grow(self, catalog: Catalog, directory: Directory, was: int) -> list[str]:
        """Add partitions to every topic that has as many as there are partitions."""
        before, after = (self._specs(catalog, directory, count) for count in (was, self._to))
        wanted = {name: count for name, count in after.items() if before[name] != count}
        grown = await grow_topics(self._kafka, wanted)
        self._say(f"{len(grown)} topics have {self._to} partitions now")
        fault("repartition.after_growth")
        return grown

    async def copy(self, was: int) -> tuple[int, int]:
        """Copy, and compare all that was copied with what stands there. How many records and tenants moved."""
        times = [(await read_book(self._kafka, number)).times for number in range(self._to)]
        expected: dict[int, dict[bytes, bytes]] = {home: {} for home in range(self._to)}
        for number in range(was):
            book = await read_book(self._kafka, number)
            records = [
                Outgoing(
                    self._ledger,
                    placed(key, book.latest[key], before=book.times, after=times[home]),
                    key,
                    partition=home,
                )
                for key, home in leaving(book, self._to)
            ]
            for record in records:
                expected[record.partition or 0][record.key or b""] = _digest(record.value)
            await write(self.publisher, records)
        fault("repartition.after_copy")
        await self._compare(expected)
        keys = [key for found in expected.values() for key in found]
        tenants = {key.split(b"/")[1] for key in keys}
        self._say(f"{len(keys)} records of {len(tenants)} tenants are copied, and compared")
        return len(keys), len(tenants)

    async def clear(self, was: int) -> None:
        """Take away from each old partition what has another home now."""
        for number in range(was):
            book = await read_book(self._kafka, number)
            gone = (Outgoing(self._ledger, None, key, partition=number) for key, _ in leaving(book, self._to))
            await write(self.publisher, gone)
        fault("repartition.after_clearing")

    async def finish(self) -> None:
        """Let each partition be served as one of the new number."""
        marks = [(await read_book(self._kafka, number)).marks for number in range(self._to)]
        highest = Marks(*(max(getattr(m, name) for m in marks) for name in Marks.__annotations__))
        for number in range(self._to):
            book = await read_book(self._kafka, number)
            init = book.init
            if init is not None and init.partitions == self._to:
                continue
            start = init.start if init else dict.fromkeys(ADMISSION_INPUTS, 0)
            offsets = Outgoing(self._ledger, offsets_after(book, highest), OFFSETS_KEY, partition=number)
            done = Init(
                cluster_id=self._cluster, installation=self._settings.installation, partitions=self._to, start=start
            )
            await self._commit(number, done, offsets)
            fault("repartition.after_finish")
        self._say(f"all {self._to} partitions may be served")

    async def _commit(self, number: int, init: Init, *before: Outgoing) -> None:
        record = Outgoing(self._ledger, init.model_dump_json().encode(), INIT_KEY, partition=number)
        for _ in range(_MARK_TRIES):
            producer = FencedProducer(self._kafka, transactional_id=f"{self._kafka.prefix}-admission-{number}")
            try:
                await producer.start()
                await producer.commit([*before, record], {}, Topics(self._kafka.prefix).group("admission"))
                return
            except Fenced:
                # An admission that is being restarted takes its partition over once more before it reads the mark.
                await asyncio.sleep(_MARK_WAIT_S)
            finally:
                await producer.close()
        raise Misconfigured(
            f"admission takes partition {number} over again and again", "stop admission, then do this again"
        )

    async def _compare(self, expected: Mapping[int, Mapping[bytes, bytes]]) -> None:
        for home, digests in expected.items():
            book = await read_book(self._kafka, home)
            wrong = [key.decode() for key, digest in digests.items() if _digest(book.latest.get(key)) != digest]
            if wrong:
                raise Misconfigured(
                    f"{len(wrong)} records are not there as they were written, such as {wrong[0]}",
                    "see who else writes to the ledger, then do this again",
                    where=f"{self._ledger}[{home}]",
                )

    def _specs(self, catalog: Catalog, directory: Directory, partitions: int) -> dict[str, int]:
        kafka = self._kafka.model_copy(update={"partitions": partitions})
        specs = specs_of(self._settings.model_copy(update={"kafka": kafka}), catalog, directory)
        return {spec.name: spec.partitions for spec in specs}


def _digest(value: bytes | None) -> bytes:
    return b"" if value is None else hashlib.sha256(value).digest()

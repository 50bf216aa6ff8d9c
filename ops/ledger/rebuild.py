"""``easel ledger rebuild``: accounts and ended requests from the history; what was open ends, refunded.

Nothing is charged twice and no captured request can run twice: every balance is the last that usage tells, every id
that ended is known, and the inputs are read on behind the last record of which a decision is told. What was open can't
be done any more, for what it asked for is gone: it ends ``failed`` and costs nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field

from consumer.admission import ledger, messages
from consumer.admission.batch import Batch
from consumer.admission.endings import end_failed
from consumer.admission.files import RuleFiles
from consumer.admission.init import specs_of
from consumer.admission.ledger import INIT_KEY, Init
from consumer.admission.requests import EndedRequest
from consumer.admission.rules import Rules
from consumer.admission.state import Effects, PartitionState
from consumer.faults import fault
from consumer.metrics import Metrics
from ops.cli.accounts import in_order
from ops.ledger.history import History
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.settings import Settings
from schemas.topics import Topics
from transport.decided import require_decided
from transport.errors import Fenced, Misconfigured
from transport.group import GroupConsumer
from transport.partitioning import partition_of
from transport.reader import read_bounds
from transport.records import Outgoing, Record, TopicPartition
from transport.tail import read_partition
from transport.topics import cluster_id, ensure_topics
from transport.transactions import FencedProducer

__all__ = ["Rebuilt", "rebuild"]

_AT_ONCE = 200
_TRIES = 4
_APART_S = 2.0
_NO_ATTEMPT = 2**31 - 1
"""Above every attempt that may be out."""
_LOST = ErrorBody(
    message="easel's memory of this request was lost, and it was refunded: send it again under a new id",
    type=ErrorType.SERVER,
    code=Code.INTERNAL_ERROR,
)


@dataclass(slots=True)
class Rebuilt:
    """What the new ledger holds."""

    partitions: list[int] = field(default_factory=list)
    accounts: int = 0
    ended: int = 0
    failed: int = 0
    """Requests that were open, and ended now."""
    refunded_milliunits: int = 0


async def rebuild(settings: Settings, *, dry_run: bool = False, say: Callable[[str], None] = lambda _: None) -> Rebuilt:
    """Make again each partition of the ledger that has lost its mark. May be repeated.

    Raises ``Misconfigured`` where that can't be done safely, ``Undecided`` while a transaction hides a part of what has
    to be read; ``TransportError`` when a broker fails: do it again.
    """
    for _ in range(_TRIES):
        with suppress(Fenced):
            return await _rebuild(settings, dry_run, say)
        # Two at once may have shut each other out, each of a part of the partitions.
        await asyncio.sleep(random.uniform(0.0, _APART_S))  # noqa: S311 - no secret
    return await _rebuild(settings, dry_run, say)


async def _rebuild(settings: Settings, dry_run: bool, say: Callable[[str], None]) -> Rebuilt:
    files = RuleFiles(settings, Metrics())
    await ensure_topics(settings.kafka, specs_of(settings, files.catalog, files.directory))
    files.without_own_topic([])
    lost = await _lost(settings, range(settings.kafka.partitions))
    async with AsyncExitStack() as open_:
        producers: dict[int, FencedProducer] = {}
        if not dry_run:
            # Before the history is read: nobody adds to it from here on, and what somebody had begun, an earlier try of
            # this too, is in it whole or undone.
            producers = {number: await _take_over(settings, number, open_) for number in lost}
            lost = await _lost(settings, lost)
        done = Rebuilt(lost)
        if lost:
            await _require_whole(settings, lost)
            say(f"{len(lost)} partitions of the ledger have lost their mark; reading usage and results")
            await _make_again(settings, files, done, producers, say)
    return done


async def _lost(settings: Settings, partitions: Iterable[int]) -> list[int]:
    name = Topics(settings.kafka.prefix).ledger
    books = {number: await ledger.restore(read_partition(settings.kafka, name, number)) for number in partitions}
    return [number for number, book in books.items() if book.init is None]


async def _require_whole(settings: Settings, lost: Iterable[int]) -> None:
    """Neither marks nor history are hidden: what was left out would be charged, or could run, a second time."""
    topics = Topics(settings.kafka.prefix)
    history = [
        TopicPartition(name, n) for name in (topics.usage, topics.results) for n in range(settings.kafka.partitions)
    ]
    await require_decided(settings.kafka, [*(TopicPartition(topics.ledger, n) for n in lost), *history])


async def _take_over(settings: Settings, partition: int, open_: AsyncExitStack) -> FencedProducer:
    producer = FencedProducer(settings.kafka, transactional_id=f"{settings.kafka.prefix}-admission-{partition}")
    open_.push_async_callback(producer.close)
    await producer.start()
    return producer


async def _make_again(
    settings: Settings,
    files: RuleFiles,
    done: Rebuilt,
    producers: Mapping[int, FencedProducer],
    say: Callable[[str], None],
) -> None:
    """Decide what each lost partition is to hold, and write it where there is a producer for it."""
    history = await _history(settings)
    offsets = await _next_offsets(settings, done.partitions, history)
    cluster = await cluster_id(settings.kafka)
    for number in done.partitions:
        state = PartitionState()
        state.clock_ms, state.tenants_version = history.clock_ms, history.tenants_version
        state.next_offsets = offsets[number]
        batches = list(_batches(state, history, files.rules(number), done))
        if number not in producers:
            continue
        init = Init(
            cluster_id=cluster,
            installation=settings.installation,
            partitions=settings.kafka.partitions,
            start=offsets[number],
        )
        rules = files.rules(number)
        mark = Outgoing(rules.topics.ledger, init.model_dump_json().encode(), INIT_KEY, partition=number)
        # The mark comes last: cut off before it, the partition stays refused, and is made again from what is told then.
        for records in (*(batch.outgoing(state, rules) for batch in batches), [mark]):
            await _commit(producers[number], records, rules)
        say(f"partition {number} is there again")


def _batches(state: PartitionState, history: History, rules: Rules, done: Rebuilt) -> Iterator[Batch]:
    """What a partition's ledger is to hold, in transactions that are small enough."""

    def at_home(tenant: str) -> bool:
        return partition_of(tenant.encode(), rules.partitions) == rules.partition

    batch = Batch()
    accounts = {tenant: account for tenant, account in history.accounts().items() if at_home(tenant)}
    batch.take(state, Effects(accounts=accounts))
    done.accounts += len(accounts)
    yield batch
    batch, size = Batch(), 0
    for key, end in history.ends(history.clock_ms - rules.remembered_ms).items():
        if not at_home(key.tenant):
            continue
        ended = EndedRequest(key, end.state, end.body_sha256, end.at_ms, end.at_ms + rules.remembered_ms)
        batch.take(state, Effects(requests={key: ended}))
        done.ended, size = done.ended + 1, size + 1
        if size % _AT_ONCE == 0:
            yield batch
            batch = Batch()
    for request in history.open():
        if not at_home(request.key.tenant):
            continue
        effects = end_failed(state, request, _LOST, rules, history.clock_ms)
        note = messages.control(rules, request.key, min_attempt=_NO_ATTEMPT, at_ms=history.clock_ms)
        effects.messages.append(note)
        batch.take(state, effects)
        done.failed, size = done.failed + 1, size + 1
        done.refunded_milliunits += request.cost
        if size % _AT_ONCE == 0:
            yield batch
            batch = Batch()
    if not batch.empty:
        yield batch


async def _commit(producer: FencedProducer, records: list[Outgoing], rules: Rules) -> None:
    await producer.commit(records, {}, rules.topics.group("admission"), at=lambda point: fault(f"rebuild.{point}"))


async def _history(settings: Settings) -> History:
    topics, history = Topics(settings.kafka.prefix), History()
    async for record in _all(settings, topics.usage):
        history.usage(record)
    async for record in _all(settings, topics.results):
        history.result(record)
    return history


async def _all(settings: Settings, topic: str) -> AsyncIterator[Record]:
    partitions = [read_partition(settings.kafka, topic, number) for number in range(settings.kafka.partitions)]
    async with aclosing(in_order(partitions)) as records:
        async for record in records:
            yield record


async def _next_offsets(settings: Settings, partitions: list[int], history: History) -> dict[int, dict[str, int]]:
    """Where each partition's inputs are to be read on.

    The group was told so within a second. What was decided since is told by the decisions themselves; what came of
    nothing else is of requests that have ended now, and comes to nothing again.
    """
    topics = Topics(settings.kafka.prefix)
    inputs = {TopicPartition(topic, n): (n, name) for name, topic in topics.inputs().items() for n in partitions}
    # A member only to ask: it never begins to read.
    member = GroupConsumer(
        settings.kafka,
        group=topics.group("admission"),
        topics=list(topics.inputs().values()),
        on_assigned=lambda _: None,
        on_revoked=lambda _: None,
    )
    await member.start()
    try:
        committed = await member.committed(inputs)
    finally:
        await member.stop()
    bounds = await read_bounds(settings.kafka, inputs)
    told = await read_bounds(settings.kafka, [TopicPartition(topics.results, n) for n in partitions])
    found: dict[int, dict[str, int]] = {number: {} for number in partitions}
    for tp, (number, name) in inputs.items():
        offset = committed[tp]
        first, end = bounds[tp]
        if offset is None and end > first and told[TopicPartition(topics.results, number)][1]:
            raise Misconfigured(
                "the group's committed offsets are gone: it is not known which records were decided",
                "choose with `easel topics --start-at` what to do with them (docs/operations.md)",
                where=f"{tp.topic}[{tp.partition}]",
            )
        found[number][name] = max(first, offset or 0, history.decided.get((name, number), 0))
    return found

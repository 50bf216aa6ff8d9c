"""One partition of admission: fence, restore, then batch after batch; on any doubt all of it again.

Crash-only: what is in memory is only ever a reading of the ledger. An error of the broker, a time limit that passed, a
newer owner: each drops the memory and the producer of this partition, and begins at the fence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from consumer.admission.batch import Batch, decide_batch
from consumer.admission.blame import BadRelease, Blame
from consumer.admission.counting import count
from consumer.admission.fleet_view import Fleet
from consumer.admission.gathering import Pause, pause_after
from consumer.admission.gauges import PartitionGauges
from consumer.admission.group_offsets import GroupOffsets
from consumer.admission.inbox import Inbox
from consumer.admission.outlook import demand_of
from consumer.admission.restore import restore_partition
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState
from consumer.admission.traced import trace_batch
from consumer.faults import fault
from consumer.fleet import BrokerClock
from consumer.metrics import Metrics
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Fenced, Misconfigured, TransportError, Undecided
from transport.group import GroupConsumer
from transport.logs import logger
from transport.records import Record, TopicPartition
from transport.tracing import tracing
from transport.transactions import FencedProducer

__all__ = ["PartitionRunner"]

_TICK_S = 0.25
_RETRY_S = 0.2
_RETRY_MOST_S = 5.0
_STUCK_S = 15.0
_LAST_WORD_S = 0.5
_LETTERS_WAIT_S = 0.1
_LETTERS_BYTES = 1024 * 1024
"""Dead letters alone wait for each other this long, or until they are so large: a storm of forged requests would else
keep a transaction open at all times, in which every good request's own would have to wait its turn."""


class PartitionRunner:
    """Serves one partition while the group gives it to this instance. All methods but ``run`` are immediate."""

    def __init__(
        self,
        partition: int,
        *,
        settings: Settings,
        consumer: GroupConsumer,
        cluster_id: str,
        rules: Callable[[int], Rules],
        fleet: Callable[[], Fleet],
        clock: BrokerClock,
        metrics: Metrics,
    ) -> None:
        self.partition = partition
        self.problem: str | None = "restoring"
        """What it waits for; None while it decides."""
        self.demand: Mapping[str, int] = {}
        """Pool → the weights of the tenants that have something waiting or in flight there, summed."""
        self.waiting_work: Mapping[str, int] = {}
        """Pool → the work that waits here for its turn or for another attempt, in milli-units."""
        self._settings = settings
        topics = Topics(settings.kafka.prefix)
        self._group = topics.group("admission")
        self._outcomes = topics.outcomes
        self._consumer = consumer
        self._cluster_id = cluster_id
        self._rules = rules
        self._fleet = fleet
        self._clock = clock
        self._metrics = metrics
        self._log = logger("admission").bind(partition=partition)
        self._inputs = {TopicPartition(topic, partition): name for name, topic in topics.inputs().items()}
        self._inbox = Inbox(settings.admission.batch_records)
        self._wake = asyncio.Event()
        self._owned = True
        self._accepting = False
        self._held = False
        self._pause: Pause | None = None
        self._committed_at = 0.0
        self._group_offsets = GroupOffsets()
        self._waiting: Batch | None = None
        self._waiting_since = 0.0
        self._stopping = False
        self._advanced = time.monotonic()
        self._blame = Blame()
        self.gauges = PartitionGauges(metrics, partition)
        self._decided_to: dict[str, int] = {}

    def offer(self, records: Iterable[Record]) -> None:
        """Records just fetched. Dropped unless accepting: they are fetched again from the ledger's offsets."""
        if not self._accepting:
            return
        if not self._inbox:
            self._advanced = time.monotonic()
        self._inbox.add(records)
        self._wake.set()
        if not self._held and self._inbox.is_full():
            self._held = True
            for tp in self._inputs:
                self._consumer.pause(tp)

    def suspend(self) -> None:
        """A rebalance has begun: nothing is delivered until ``resume``."""
        self._owned = self._accepting = False
        self._inbox.clear()
        self._wake.set()

    def resume(self) -> None:
        """It was given back to this instance: go on from memory. If another had it meanwhile, that one fenced us."""
        self._owned = True
        self._wake.set()

    async def show_lag(self, ends: Mapping[TopicPartition, int]) -> None:
        """How far the partition is behind the ``ends`` of its inputs; nothing before it was restored."""
        lag: dict[str, int] = {}
        for tp, name in self._inputs.items():
            if name in self._decided_to:
                lag[name] = max(0, ends[tp] - self._decided_to[name])
            # Markers of transactions at the end are offsets too, and no records that wait.
            if lag.get(name) and self._accepting and not self._inbox and await self._consumer.position(tp) >= ends[tp]:
                lag[name] = 0
        self.gauges.show_lag(lag)

    def stop(self) -> None:
        """End after the transaction that is under way."""
        self._stopping = True
        self.gauges.clear()
        self._wake.set()

    @property
    def inputs(self) -> Iterable[TopicPartition]:
        """What it reads."""
        return self._inputs

    @property
    def stuck(self) -> bool:
        """Whether records wait and nothing was committed for a while."""
        return bool(self._inbox) and time.monotonic() - self._advanced > _STUCK_S

    async def run(self) -> None:
        """Serve until ``stop``. Raises ``Misconfigured`` for what only a person can mend."""
        pause_s = _RETRY_S
        while not self._stopping:
            began = time.monotonic()
            try:
                await self._serve()
            except Misconfigured:
                raise
            except BadRelease as error:
                self.problem = f"stopped: {error}"
                self._log.critical("partition stopped", reason=str(error))
                return
            except Exception as error:
                pause_s = self._doubt(error, _RETRY_S if time.monotonic() - began > _STUCK_S else pause_s)
                await asyncio.sleep(pause_s)

    def _doubt(self, error: Exception, pause_s: float) -> float:
        kind = type(error).__name__
        self.problem = str(error) if isinstance(error, Undecided) else f"restoring after {kind}"
        self._metrics.inc("easel_admission_doubts_total", partition=self.partition, kind=kind)
        if isinstance(error, TransportError):
            self._log.warning("doubt: begin again at the fence", kind=kind, reason=str(error))
        else:
            self._log.exception("doubt: begin again at the fence", kind=kind)
        if isinstance(error, Fenced):
            self._metrics.inc("easel_admission_fences_total", partition=self.partition)
            # Two heartbeats: by then the group has told us whether we still own it. Stealing back at once would go on
            # for ever between two instances that both believe they do.
            return self._settings.admission.session_timeout_s / 2
        return min(pause_s * 2, _RETRY_MOST_S)

    async def _serve(self) -> None:
        producer = FencedProducer(
            self._settings.kafka, transactional_id=f"{self._settings.kafka.prefix}-admission-{self.partition}"
        )
        try:
            await producer.start()
            fault("admission.after_fence")
            state = await self._restore()
            fault("admission.after_restore")
            self._group_offsets = GroupOffsets()
            while not self._stopping:
                if self._owned and not self._accepting:
                    self._begin(state)
                records = await self._take()
                if self._owned:
                    await self._decide(producer, state, records)
            await self._say_where_it_ends(producer, state)
        finally:
            self._accepting = False
            self._inbox.clear()
            self._waiting = None
            await producer.close()

    async def _restore(self) -> PartitionState:
        began = time.monotonic()
        state = await restore_partition(self._settings, self._cluster_id, self._consumer, self.partition, self._metrics)
        while state.tenants_version > self._rules(self.partition).directory.version and not self._stopping:
            self.problem = f"waits for version {state.tenants_version} of tenants.yaml, which the ledger has seen"
            await asyncio.sleep(_TICK_S)
        self._metrics.inc("easel_admission_restores_total", partition=self.partition)
        self._metrics.observe("easel_admission_restore_seconds", time.monotonic() - began)
        self._decided_to = dict(state.next_offsets)
        self.gauges.show(state, self._rules(self.partition), state.accounts)
        self._log.info("restored", requests=len(state.requests), queued=state.queued, in_flight=len(state.in_flight))
        return state

    def _begin(self, state: PartitionState) -> None:
        """Let the inputs deliver from where the memory stands."""
        self._inbox.clear()
        self._held = False
        for tp, name in self._inputs.items():
            self._consumer.release(tp, state.next_offsets[name])
        self._accepting = True
        self._advanced = time.monotonic()
        self.problem = None

    async def _take(self) -> list[Record]:
        """The next batch: what has arrived, and in busy times what comes within a pause; nothing after a tick."""
        if not self._inbox:
            self._wake.clear()
            try:
                async with asyncio.timeout(_LETTERS_WAIT_S if self._waiting else _TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                return []
        if self._pause is not None:
            await self._gather(self._pause)
        taken = self._inbox.take()
        if self._held and self._inbox.has_room():
            self._held = False
            for tp in self._inputs:
                self._consumer.resume(tp)
        return taken

    async def _gather(self, pause: Pause) -> None:
        with suppress(TimeoutError):
            # After the commit: who comes later than that waits for nobody.
            async with asyncio.timeout(self._committed_at + pause.seconds - time.monotonic()):
                while len(self._inbox) < pause.records and not self._inbox.has_batch():
                    self._wake.clear()
                    await self._wake.wait()

    async def _decide(self, producer: FencedProducer, state: PartitionState, records: list[Record]) -> None:
        began = time.monotonic()
        self._pause = None
        rules = self._rules(self.partition)
        batch = decide_batch(state, records, rules, self._clock.now_ms(), self._fleet(), joining=self._waiting)
        self.demand, self.waiting_work = demand_of(state, rules), dict(state.waiting_work)
        if batch.empty:
            await self._tell_group(producer, self._group_offsets.due(state, rules, began))
            return
        if self._waiting is None:
            self._waiting_since = time.monotonic()
        waited_s = time.monotonic() - self._waiting_since
        if batch.can_wait and waited_s < _LETTERS_WAIT_S and batch.size < _LETTERS_BYTES:
            self._waiting = batch
            return
        self._waiting = None
        await self._commit(producer, state, rules, batch)
        self._pause = pause_after(
            records,
            self._outcomes,
            time.monotonic() - began,
            waiting=len(self._inbox),
            letters=batch.letters,
        )

    async def _commit(self, producer: FencedProducer, state: PartitionState, rules: Rules, batch: Batch) -> None:
        for tenant, where in batch.blamed:
            self._log.error("a decision raised an exception", tenant=tenant, where=where)
        self._blame.note((blamed.tenant for blamed in batch.blamed), time.monotonic())
        began = time.monotonic()
        offsets = self._group_offsets.due(state, rules, began)
        await producer.commit(
            batch.outgoing(state, rules), offsets, self._group, at=lambda point: fault(f"admission.{point}")
        )
        self._advanced = self._committed_at = time.monotonic()
        self._group_offsets.told(offsets, self._advanced)
        if tracing.on:
            trace_batch(batch.messages, state, rules)
        self._decided_to = dict(state.next_offsets)
        count(self._metrics, rules, batch, self._advanced - began)
        self.gauges.show(state, rules, batch.tenants)

    async def _tell_group(self, producer: FencedProducer, offsets: Mapping[TopicPartition, int]) -> None:
        if offsets:
            await producer.commit([], offsets, self._group)
            self._group_offsets.told(offsets, time.monotonic())

    async def _say_where_it_ends(self, producer: FencedProducer, state: PartitionState) -> None:
        """After the last transaction. Whoever takes over says it within a second, should this fail."""
        if self._owned and self._waiting is None:
            with suppress(TransportError, TimeoutError):
                async with asyncio.timeout(_LAST_WORD_S):
                    await self._tell_group(producer, self._group_offsets.untold(state, self._rules(self.partition)))

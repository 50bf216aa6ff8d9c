"""One partition of the stage: fence, restore, then read, post and write down; on any doubt all of it again.

Each transaction holds what was read since the last one, what became of the attempts since then, and the next offsets.
What it makes us owe is posted once it is committed: a process that dies owes all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from consumer.faults import fault
from consumer.metrics import Metrics
from consumer.webhooks.book import Answer, Book, Ended, target_of
from consumer.webhooks.owed import Owed
from consumer.webhooks.posting import attempt
from consumer.webhooks.restoring import restore_book
from consumer.webhooks.schedule import Schedule
from consumer.webhooks.slots import Slots
from schemas.endpoints import Endpoints
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Fenced, Misconfigured, TransportError
from transport.group import GroupConsumer
from transport.logs import logger
from transport.outbound import OutboundPolicy
from transport.records import Outgoing, Record, TopicPartition
from transport.tracing import tracing
from transport.transactions import FencedProducer

__all__ = ["WebhookPartition"]

_TICK_S = 1.0
_GATHER_S = 0.02
_BATCH = 200
_HELD = 1_000
"""Records that were fetched and wait, beyond which no more are."""
_LOOK_OVER_S = 30.0
_RETRY_S = 0.2
_RETRY_MOST_S = 5.0
_STUCK_S = 30.0


class WebhookPartition:
    """Serves one partition while the group gives it to this instance. All methods but ``run`` are immediate."""

    def __init__(
        self,
        partition: int,
        *,
        settings: Settings,
        consumer: GroupConsumer,
        endpoints: Callable[[], Endpoints],
        slots: Slots,
        schedule: Schedule,
        metrics: Metrics,
    ) -> None:
        """``slots``: the process's connections."""
        self.partition = partition
        self.problem: str | None = "restoring"
        """What it waits for; None while it serves."""
        self._settings = settings
        self._topics = Topics(settings.kafka.prefix)
        self._consumer = consumer
        self._endpoints = endpoints
        self._slots = slots
        self._schedule = schedule
        self._metrics = metrics
        self._policy = OutboundPolicy.of(settings.outbound)
        self._log = logger("webhooks").bind(partition=partition)
        self._inputs = [TopicPartition(topic, partition) for topic in self._topics.webhook_inputs]
        self._fetched: list[Record] = []
        self._answers: list[tuple[Owed, Answer]] = []
        self._posting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._owned = True
        self._accepting = False
        self._held = False
        self._stopping = False
        self._advanced = time.monotonic()

    def offer(self, records: Iterable[Record]) -> None:
        """Records just fetched. Dropped unless accepting: they are fetched again from the offsets in the book."""
        if not self._accepting:
            return
        if not self._fetched:
            self._advanced = time.monotonic()
        self._fetched.extend(records)
        self._wake.set()
        if not self._held and len(self._fetched) > _HELD:
            self._held = True
            for tp in self._inputs:
                self._consumer.pause(tp)

    def suspend(self) -> None:
        """A rebalance has begun: nothing is delivered until ``resume``."""
        self._owned = self._accepting = False
        self._fetched.clear()
        self._wake.set()

    def resume(self) -> None:
        """It was given back to this instance: go on from memory. If another had it meanwhile, that one fenced us."""
        self._owned = True
        self._wake.set()

    def stop(self) -> None:
        """End after the transaction that is under way."""
        self._stopping = True
        self._wake.set()

    @property
    def stuck(self) -> bool:
        """Whether records wait and nothing was committed for a while."""
        return bool(self._fetched) and time.monotonic() - self._advanced > _STUCK_S

    async def run(self) -> None:
        """Serve until ``stop``. Raises ``Misconfigured`` for what only a person can mend."""
        pause_s = _RETRY_S
        while not self._stopping:
            began = time.monotonic()
            try:
                await self._serve()
            except Misconfigured:
                raise
            except Exception as error:
                pause_s = _RETRY_S if time.monotonic() - began > _STUCK_S else min(pause_s * 2, _RETRY_MOST_S)
                await self._doubt(error, pause_s)

    async def _doubt(self, error: Exception, pause_s: float) -> None:
        self.problem = f"restoring after {type(error).__name__}"
        if isinstance(error, TransportError):
            self._log.warning("doubt: begin again at the fence", reason=str(error))
        else:
            self._log.exception("doubt: begin again at the fence")
        # After a fence two heartbeats: by then the group has told whether the partition is still ours.
        await asyncio.sleep(self._settings.webhooks.session_timeout_s / 2 if isinstance(error, Fenced) else pause_s)

    async def _serve(self) -> None:
        prefix = self._settings.kafka.prefix
        producer = FencedProducer(self._settings.kafka, transactional_id=f"{prefix}-webhooks-{self.partition}")
        try:
            await producer.start()
            book = self._new_book()
            if await restore_book(book, self._settings, self._consumer, self.partition, self._inputs, self._metrics):
                await self._commit(producer, book, [book.offsets()])
            self._log.info("restored", owed=len(book.owed))
            looked_over = 0.0
            while not self._stopping:
                if self._owned and not self._accepting:
                    self._begin(book)
                if time.monotonic() - looked_over > _LOOK_OVER_S:
                    book.look_over(self._endpoints(), _now_ms())
                    looked_over = time.monotonic()
                await self._step(producer, book)
                self._start_due(book)
                await self._until_something(book)
            await self._last_step(producer, book)
        finally:
            self._accepting = False
            for task in self._posting:
                task.cancel()
            await asyncio.gather(*self._posting, return_exceptions=True)
            self._fetched.clear()
            self._answers.clear()
            self._metrics.remove("easel_webhooks_owed", partition=self.partition)
            await producer.close()

    def _new_book(self) -> Book:
        webhooks = self._settings.webhooks
        return Book(
            self._topics, self.partition, self._schedule, per_endpoint=webhooks.per_endpoint, most=webhooks.owed
        )

    def _begin(self, book: Book) -> None:
        """Let the inputs deliver from where the book stands."""
        self._fetched.clear()
        self._held = False
        for tp in self._inputs:
            self._consumer.release(tp, book.next_offsets[tp.topic])
        self._accepting = True
        self._advanced = time.monotonic()
        self.problem = None

    async def _until_something(self, book: Book) -> None:
        """Wait for records, for the end of an attempt, or until something is due."""
        if not self._fetched and not self._answers:
            due_ms = book.lines.next_ms()
            wait_s = _TICK_S if due_ms is None else min(_TICK_S, max(0.0, (due_ms - _now_ms()) / 1000))
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                return
        # What ends at nearly the same time shares a transaction.
        await asyncio.sleep(_GATHER_S)

    async def _step(self, producer: FencedProducer, book: Book) -> None:
        """Write down what was read and what the attempts came to."""
        endpoints, now_ms = self._endpoints(), _now_ms()
        taken = self._fetched[:_BATCH]
        del self._fetched[:_BATCH]
        if self._held and len(self._fetched) <= _HELD // 2:
            self._held = False
            for tp in self._inputs:
                self._consumer.resume(tp)
        written = [out for record in taken for out in book.read(record, endpoints, now_ms)]
        answers, self._answers = self._answers, []
        steps = [book.settle(owed, answer, endpoints, now_ms) for owed, answer in answers]
        steps += book.give_up(most=_BATCH)
        written += [out for outs, _ in steps for out in outs]
        if taken:
            written.append(book.offsets())
        if written:
            await self._commit(producer, book, written)
        for _, ended in steps:
            if ended is not None:
                self._count(ended)
        self._metrics.set("easel_webhooks_owed", len(book.owed), partition=self.partition)
        self._advanced = time.monotonic()

    async def _commit(self, producer: FencedProducer, book: Book, written: list[Outgoing]) -> None:
        # For lag tools alone: what counts is in the book.
        offsets = {tp: book.next_offsets[tp.topic] for tp in self._inputs}
        group = self._topics.group("webhooks")
        await producer.commit(written, offsets, group, at=lambda point: fault(f"webhooks.{point}"))

    def _start_due(self, book: Book) -> None:
        for owed in book.start(_now_ms()):
            task = asyncio.create_task(self._post(owed))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    async def _post(self, owed: Owed) -> None:
        async with self._slots.of(owed.tenant):
            began, began_ns = time.monotonic(), time.time_ns()
            target = target_of(owed, self._endpoints())
            answer = await attempt(owed, target, policy=self._policy, timeout_s=self._settings.webhooks.timeout_s)
            fault("webhooks.after_post")
            tracing.span(
                "POST webhook",
                owed.traceparent,
                began_ns,
                kind="client",
                attributes={
                    "http.request.method": "POST",
                    "http.response.status_code": answer.status or 0,
                    "easel.tenant": owed.tenant,
                    "easel.event": owed.type,
                    "easel.attempt": owed.attempts + 1,
                },
                error=None if answer.well else "not_delivered",
            )
        result = "ok" if answer.well else "no_answer" if answer.status is None else f"{answer.status // 100}xx"
        self._metrics.inc("easel_webhooks_attempts_total", tenant=owed.tenant, result=result)
        self._metrics.observe("easel_webhooks_attempt_seconds", time.monotonic() - began)
        if not answer.well:
            self._log.warning(
                "not delivered",
                tenant=owed.tenant,
                endpoint=owed.endpoint or "(the request's own)",
                webhook_id=owed.id,
                attempt=owed.attempts + 1,
                reason=answer.said,
            )
        self._answers.append((owed, answer))
        self._wake.set()

    async def _last_step(self, producer: FencedProducer, book: Book) -> None:
        """What ended by now is written down, so that it is not posted again by whoever comes next."""
        if self._posting:
            await asyncio.wait(self._posting, timeout=_TICK_S)
        self._accepting = False
        self._fetched.clear()
        await self._step(producer, book)

    def _count(self, ended: Ended) -> None:
        self._metrics.inc("easel_webhooks_ended_total", tenant=ended.owed.tenant, result=ended.result)
        if ended.result != "delivered":
            self._metrics.inc("easel_dead_letters_total", stage="webhooks", code=ended.result)
            self._log.error(
                "given up",
                tenant=ended.owed.tenant,
                endpoint=ended.owed.endpoint or "(the request's own)",
                webhook_id=ended.owed.id,
                code=ended.result,
            )


def _now_ms() -> int:
    return int(time.time() * 1000)

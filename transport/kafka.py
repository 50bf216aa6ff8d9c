"""How every client of ours reaches the cluster, and the publisher for what needs no transaction."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import aiokafka
import aiokafka.errors as kafka
from aiokafka.helpers import create_ssl_context

from schemas.connection import KafkaSettings
from transport import header_names
from transport.batches import MAX_RECORD_BYTES, Sent, send_batches
from transport.errors import Misconfigured, TooLarge, TransportError, limited
from transport.records import Ack, Outgoing
from transport.teardown import end_producer, quiet
from transport.tokens import token_provider

__all__ = ["MAX_BATCH_BYTES", "Publisher", "client_options"]

MAX_BATCH_BYTES = 512 * 1024
"""Records of one partition that travel together. Also bounds what is kept of a partition while the broker is away."""

header_names.install()

_START_S = 10.0
_STOP_S = 3.0
_WAITING = 1_000
_BEST_EFFORT_S = 2.0


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """The keyword arguments that every aiokafka client takes: where the cluster is and how to sign in.

    Raises:
        Misconfigured: a certificate or key file cannot be used, or httpx is missing for OAUTHBEARER.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "request_timeout_ms": settings.request_timeout_ms,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol in {"SSL", "SASL_SSL"}:
        try:
            options["ssl_context"] = create_ssl_context(
                cafile=settings.ca_file and str(settings.ca_file),
                certfile=settings.cert_file and str(settings.cert_file),
                keyfile=settings.key_file and str(settings.key_file),
            )
        except (OSError, ssl.SSLError) as err:
            files = ", ".join(str(f) for f in (settings.ca_file, settings.cert_file, settings.key_file) if f)
            raise Misconfigured(
                f"a TLS file cannot be used: {err}",
                "name readable PEM files in ca_file, cert_file, key_file",
                where=files,
            ) from err
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
    if settings.security_protocol.startswith("SASL") and settings.sasl_mechanism == "OAUTHBEARER":
        options["sasl_oauth_token_provider"] = token_provider(settings)
    elif settings.security_protocol.startswith("SASL"):
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value() if settings.password else None
    return options


class Publisher:
    """Writes records outside transactions: acknowledged by all replicas, in order and once per try.

    A failed batch leaves a gap in the producer's sequence numbers, after which the broker refuses all that follows on
    the partition; the publisher then goes on with a new producer id by itself.
    """

    def __init__(self, settings: KafkaSettings, *, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._where = settings.bootstrap_servers
        self._producer: Any = None
        self._broken: Any = None
        self._renewing = asyncio.Lock()
        self._waiting: asyncio.Queue[Outgoing] = asyncio.Queue(_WAITING)
        self._best_effort: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.dropped = 0
        """Records given to `publish_nowait` that are known not to have been written."""

    async def start(self) -> None:
        """Connects.

        Raises:
            Unavailable: no broker answered within 10 s.
            Misconfigured: the cluster refuses this client.
        """
        self._producer = await self._started()
        self._best_effort = asyncio.get_running_loop().create_task(self._send_best_effort())

    async def publish(self, out: Outgoing, *, timeout_s: float = 10.0) -> Ack:
        """Writes ``out`` and waits until all in-sync replicas have it.

        Raises:
            Unavailable: not acknowledged within ``timeout_s``. It may still be written later: a repetition must be
                recognizable by its content.
            Misconfigured: it can never be written so (too large, not allowed).
        """
        async with limited(f"publishing to {out.topic}", self._where, timeout_s):
            while True:
                producer = self._producer
                try:
                    future = await producer.send(
                        out.topic, value=out.value, key=out.key, partition=out.partition, headers=list(out.headers)
                    )
                except kafka.KafkaTimeoutError:
                    continue
                quiet(future)
                try:
                    return _ack(await future)
                except kafka.KafkaError as err:
                    await self._renew(producer)
                    if not isinstance(err, _SESSION_LOST):
                        raise

    async def publish_all(self, outs: Sequence[Outgoing], *, timeout_s: float = 10.0) -> list[Ack | TransportError]:
        """Writes ``outs``, in their order within a partition; the ack of each, or why there is none, as for `publish`.

        One at a time for a partition: a second call waits for the first. Many small records cost little in this way.
        `TooLarge` is said only of a record that is so by itself.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        found = await self._try_all(outs, timeout_s)
        if len(outs) > 1:
            # What is refused is a batch: which record of it is at fault, shows when each goes alone.
            lost: TransportError | None = None
            for number in [number for number, one in enumerate(found) if isinstance(one, TooLarge)]:
                # What comes behind one that may still be written has to wait for it.
                (found[number],) = [lost] if lost else await self._try_all([outs[number]], deadline - clock())
                if isinstance(one := found[number], TransportError) and not isinstance(one, TooLarge):
                    lost = one
        return found

    async def _try_all(self, outs: Sequence[Outgoing], timeout_s: float) -> list[Ack | TransportError]:
        sent: list[Sent] = []
        failure: TransportError | None = None
        try:
            async with limited(f"publishing to {', '.join({out.topic for out in outs})}", self._where, timeout_s):
                await self._send_all(outs, sent)
        except TransportError as error:
            failure = error
        found: list[Ack | TransportError | None] = [failure] * len(outs)
        for batch in sent:
            for number, ack in batch.acks():
                found[number] = ack
        return [one for one in found if one is not None]

    def publish_nowait(self, out: Outgoing) -> None:
        """Writes ``out`` if that is possible without waiting; counts it in ``dropped`` if not. Never raises."""
        try:
            self._waiting.put_nowait(out)
        except asyncio.QueueFull:
            self.dropped += 1

    async def flush(self, timeout_s: float = 10.0) -> None:
        """Waits until everything handed over has been acknowledged or dropped.

        Raises:
            Unavailable: that took longer than ``timeout_s``.
        """
        async with limited("flushing", self._where, timeout_s):
            await self._waiting.join()
            await self._producer.flush()

    async def stop(self) -> None:
        """Delivers what it can within 3 s and closes. Never raises, and needs no broker."""
        if self._producer is None:
            return
        with contextlib.suppress(TransportError):
            await self.flush(_STOP_S)
        if self._best_effort is not None:
            self._best_effort.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await end_producer(self._producer, grace_s=0.0)
        self._producer = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _started(self) -> Any:
        producer = aiokafka.AIOKafkaProducer(
            **client_options(self._settings),
            client_id=self._client_id,
            enable_idempotence=True,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )
        try:
            async with limited("connecting", self._where, _START_S):
                await producer.start()
        except BaseException:
            await end_producer(producer, grace_s=0.0)
            raise
        return producer

    async def _renew(self, broken: Any) -> None:
        async with self._renewing:
            if self._producer is broken:
                self._producer = await self._started()
                # What the old one still holds for other partitions is delivered beside the new one.
                ending = asyncio.get_running_loop().create_task(end_producer(broken, grace_s=_STOP_S))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)

    async def _send_all(self, outs: Sequence[Outgoing], sent: list[Sent]) -> None:
        producer = self._producer
        try:
            await send_batches(producer, outs, sent)
            for batch in sent:
                await batch.future
        except Exception:
            # What is on its way already may be acknowledged, and is then not to be repeated.
            if sent:
                await asyncio.wait([batch.future for batch in sent])
            if any(batch.failed for batch in sent):
                await self._renew(producer)
            raise

    async def _send_best_effort(self) -> None:
        while True:
            outs = [await self._waiting.get()]
            while not self._waiting.empty():
                outs.append(self._waiting.get_nowait())
            sent: list[Sent] = []
            producer = self._producer
            try:
                async with asyncio.timeout(_BEST_EFFORT_S):
                    if self._broken is producer:
                        await self._renew(producer)
                        producer = self._producer
                    await send_batches(producer, outs, sent)
            except Exception:
                self.dropped += len(outs) - sum(len(batch.held) for batch in sent)
            for batch in sent:
                batch.future.add_done_callback(partial(self._best_effort_done, producer, len(batch.held)))
            for _ in outs:
                self._waiting.task_done()

    def _best_effort_done(self, producer: Any, count: int, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.dropped += count
            self._broken = producer


_SESSION_LOST = (
    kafka.OutOfOrderSequenceNumber,
    kafka.UnknownProducerId,
    kafka.InvalidProducerEpoch,
    kafka.ProducerFenced,
    kafka.ProducerClosed,
    kafka.NotLeaderForPartitionError,
    kafka.LeaderNotAvailableError,
)


def _ack(written: Any) -> Ack:
    return Ack(written.topic, written.partition, written.offset, written.timestamp)

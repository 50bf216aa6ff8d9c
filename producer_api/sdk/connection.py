"""What a client holds open: a publisher, a follower of its tenant's results, and the store once it is needed."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from producer_api.sdk.download import open_store
from producer_api.sdk.exceptions import ClientError, RequestRejected, TimedOut, Unreachable
from producer_api.sdk.follower import Follower
from producer_api.sdk.handles import Canceler, Handle
from producer_api.sdk.publishing import publish
from producer_api.signed import Asked, build_request
from producer_api.wire import Answer
from schemas.connection import KafkaSettings, StoreSettings
from schemas.errors import EaselError
from schemas.events import Rejected
from schemas.ids import require_idempotency_key, require_request_id
from schemas.requests import GenerationRequest
from schemas.signing import Signer
from schemas.topics import Topics
from transport.errors import TransportError
from transport.kafka import Publisher

if TYPE_CHECKING:
    from transport.objects import ObjectStore

__all__ = ["Connection"]


class Connection:
    """Of one tenant, in one event loop. ``submit`` and ``ask`` raise what the methods of ``Client`` say."""

    def __init__(
        self, *, tenant: str, signer: Signer, kafka: KafkaSettings, store: StoreSettings | None, own_topic: bool
    ) -> None:
        self.kafka = kafka
        self._tenant = tenant
        self._signer = signer
        self._store_settings = store
        self._topics = Topics(kafka.prefix)
        self._publisher = Publisher(kafka, client_id=f"{kafka.prefix}-sdk-{tenant}")
        self.follower = Follower(kafka, tenant, own_topic=own_topic)
        self._store: ObjectStore | None = None
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect. Raises ``Unreachable`` within 10 s."""
        try:
            async with AsyncExitStack() as opened:
                await opened.enter_async_context(self._publisher)
                await self.follower.start()
                opened.push_async_callback(self.follower.stop)
                self._resources = opened.pop_all()
        except TransportError as error:
            raise Unreachable(str(error)) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    @property
    def store(self) -> ObjectStore:
        """Opened when it is first asked for. Raises ``ConfigurationError``."""
        if self._store is None:
            self._store = open_store(self._store_settings)
            self._resources.push_async_callback(self._store.close)
        return self._store

    async def submit(
        self,
        request: GenerationRequest,
        id_: str,
        cancel: Canceler,
        *,
        idempotency_key: str | None,
        traceparent: str | None,
        timeout_s: float,
    ) -> Handle:
        """Publish a request and follow it."""
        try:
            require_request_id(id_, at_ms=int(time.time() * 1000))
            if idempotency_key is not None:
                require_idempotency_key(idempotency_key)
        except EaselError as error:
            raise RequestRejected(error.body(), request_id=id_) from None
        record = build_request(
            request,
            tenant=self._tenant,
            signer=self._signer,
            topics=self._topics,
            request_id=id_,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        # Before the publish, so that no answer can come before there is somebody to take it.
        handle = self.follower.register(id_, cancel)
        try:
            await publish(self._publisher, record, id_, timeout_s=timeout_s)
        except BaseException:
            self.follower.forget(handle)
            raise
        return handle

    async def ask(self, request: Asked, event_id: str, *, about: str, timeout_s: float) -> Answer:
        """Publish an event that is answered once, and wait for the answer."""
        record = build_request(
            request, tenant=self._tenant, signer=self._signer, topics=self._topics, request_id=event_id
        )
        ends_at = asyncio.get_running_loop().time() + timeout_s
        with self.follower.expect(event_id, about) as expected:
            await publish(self._publisher, record, about, timeout_s=timeout_s)
            try:
                async with asyncio.timeout_at(ends_at):
                    return await expected
            except TimeoutError:
                raise TimedOut(
                    f"no answer within {timeout_s:g} s: admission is away, or it refused the signature and the event "
                    "is with the dead letters",
                    request_id=about,
                ) from None

    @staticmethod
    def unexpected(answer: Answer, request_id: str) -> ClientError:
        """The error for an answer that is not one to what was asked."""
        if isinstance(answer, Rejected):
            return RequestRejected(answer.error, request_id=request_id, event=answer)
        return Unreachable(f"an answer of another kind came: {answer.TYPE}", request_id=request_id)

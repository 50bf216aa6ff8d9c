"""The SDK: submit requests over Kafka and follow them to their pictures.

    import asyncio
    from producer_api import Client

    async def main() -> None:
        async with Client.from_env() as client:
            handle = await client.submit("a small red circle on a white background", model="easel-tiny", images=2)
            async for event in handle.events():
                print(event.TYPE)
            done = await handle.result()
            print([output.key for output in done.outputs])

    asyncio.run(main())

``from_env`` reads ``EASEL_TENANT``, ``EASEL_KID``, ``EASEL_KEY_FILE`` and ``EASEL_KAFKA_BOOTSTRAP_SERVERS``; see
``producer_api.config``.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from producer_api.config import ClientConfig, ConfigurationError, signer_of
from producer_api.exceptions import ClientError, NotCanceled, NotDeleted, RequestRejected, TimedOut, Unreachable
from producer_api.follower import Follower
from producer_api.handles import Handle
from producer_api.options import RequestOptions, naming, request_of
from producer_api.publishing import publish
from producer_api.signed import Asked, build_request
from producer_api.wire import Answer
from schemas.connection import KafkaSettings
from schemas.errors import EaselError
from schemas.events import CancelAccepted, CancelRefused, Deleted, DeleteRefused, Priced, Rejected
from schemas.ids import new_id, require_idempotency_key, require_request_id
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.signing import Signer
from schemas.topics import Topics
from transport.errors import TransportError
from transport.kafka import Publisher

__all__ = ["Client"]


class Client:
    """Publishes the requests of one tenant and follows their results. Use it as a context manager, in one event loop.

    ``key`` is the tenant's own private key (PEM text, or the path of a file) or HS256 secret, known to the installation
    as ``kid``; pass ``signer`` instead to sign as somebody who may speak for the tenant. ``installation`` is the name
    that requests are signed for.
    """

    def __init__(
        self,
        *,
        tenant: str,
        signer: Signer | None = None,
        key: str | Path | None = None,
        kid: str | None = None,
        kafka: KafkaSettings | None = None,
        installation: str = "easel",
    ) -> None:
        if signer is None:
            if key is None or kid is None:
                raise ConfigurationError("a client needs a signer, or a key and its kid")
            signer = signer_of(tenant=tenant, key=key, kid=kid, installation=installation)
        self.tenant = tenant
        self._signer = signer
        self._kafka = kafka or KafkaSettings()
        self._topics = Topics(self._kafka.prefix)
        self._publisher = Publisher(self._kafka, client_id=f"{self._kafka.prefix}-sdk-{tenant}")
        self._follower = Follower(self._kafka, tenant)
        self._resources = AsyncExitStack()

    @classmethod
    def from_env(cls) -> Client:
        """A client as the environment describes it. Raises ``ConfigurationError``, naming the variable."""
        config = ClientConfig.from_env()
        return cls(tenant=config.tenant, signer=config.signer, kafka=config.kafka)

    async def __aenter__(self) -> Self:
        """Connect. Raises ``Unreachable`` within 10 s."""
        try:
            async with AsyncExitStack() as opened:
                await opened.enter_async_context(self._publisher)
                await self._follower.start()
                opened.push_async_callback(self._follower.stop)
                self._resources = opened.pop_all()
        except TransportError as error:
            raise Unreachable(str(error)) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def submit(
        self,
        prompt: str,
        *,
        model: str,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        timeout_s: float = 30.0,
        **options: Unpack[RequestOptions],
    ) -> Handle:
        """Publish a request; returns when all of Kafka's replicas have it.

        Until ``timeout_s`` has passed, a publish whose outcome is unknown is repeated with the same id and bytes, which
        admission recognizes. After that, or after a crash, submit again with the same ``request_id``: it is charged
        once. ``request_id`` is a UUIDv7 less than a day old, made when absent. Where an id can't be kept across a
        crash, an ``idempotency_key`` of one's own does the same, such as an order's number (1 to 255 visible ASCII
        characters): a second request under it is the first one, and its handle follows that.

        Raises:
            RequestRejected: the request can't be right, and was not published.
            TimedOut: Kafka has not acknowledged it; ``request_id`` of the error is the id to try again with.
            Unreachable: Kafka refuses this client, or following was given up.
        """
        id_ = request_id or new_id()
        request = request_of(prompt, model, options, id_)
        return await self.submit_request(request, request_id=id_, idempotency_key=idempotency_key, timeout_s=timeout_s)

    async def submit_request(
        self,
        request: GenerationRequest,
        *,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        timeout_s: float = 30.0,
    ) -> Handle:
        """``submit`` for a request that is already in its typed form."""
        id_ = request_id or new_id()
        try:
            require_request_id(id_, at_ms=int(time.time() * 1000))
            if idempotency_key is not None:
                require_idempotency_key(idempotency_key)
        except EaselError as error:
            raise RequestRejected(error.body(), request_id=id_) from None
        record = build_request(
            request,
            tenant=self.tenant,
            signer=self._signer,
            topics=self._topics,
            request_id=id_,
            idempotency_key=idempotency_key,
        )
        # Before the publish, so that no answer can come before there is somebody to take it.
        handle = self._follower.register(id_, self.cancel)
        try:
            await publish(self._publisher, record, id_, timeout_s=timeout_s)
        except BaseException:
            self._follower.forget(handle)
            raise
        return handle

    async def price(
        self, prompt: str, *, model: str, timeout_s: float = 30.0, **options: Unpack[RequestOptions]
    ) -> Priced:
        """What a request would cost, and whether it would be accepted at this moment; if not, why, and when.

        Nothing is held, no id is bound, and no token of the rate is used.

        Raises:
            RequestRejected: the request can't be right.
            TimedOut: no answer within ``timeout_s``; Unreachable: Kafka can't be reached.
        """
        return await self.price_request(request_of(prompt, model, options, None), timeout_s=timeout_s)

    async def price_request(self, request: GenerationRequest, *, timeout_s: float = 30.0) -> Priced:
        """``price`` for a request that is already in its typed form."""
        id_ = new_id()
        answer = await self._ask(request.model_copy(update={"dry_run": True}), id_, about=id_, timeout_s=timeout_s)
        if isinstance(answer, Priced):
            return answer
        raise _unexpected(answer, id_)

    async def cancel(self, request_id: str, *, timeout_s: float = 30.0) -> CancelAccepted:
        """Stop a request of this tenant. Returns once admission has answered; its terminal event says how it ended.

        One that waits is canceled at once and costs nothing. One that runs stops at its next step and is charged for
        the steps that ran, unless it succeeds first. The ``state`` of the answer is where it stood; ``unknown`` means
        that there is no such request, and that one which still arrives within 10 minutes will be canceled.

        Raises:
            NotCanceled: it had ended already.
            RequestRejected: ``request_id`` can't be the id of a request.
            TimedOut: no answer within ``timeout_s``. The cancel may yet be heard; to cancel twice is safe.
            Unreachable: Kafka can't be reached.
        """
        request = naming(CancelRequest, request_id)
        answer = await self._ask(request, new_id(), about=request_id, timeout_s=timeout_s)
        match answer:
            case CancelAccepted():
                return answer
            case CancelRefused():
                raise NotCanceled(answer)
        raise _unexpected(answer, request_id)

    async def delete(self, request_id: str, *, timeout_s: float = 60.0) -> Deleted:
        """Remove the pictures of a request that has ended. Returns once the store no longer holds them.

        Raises:
            NotDeleted: it has not ended (cancel it first), or there is no such request.
            RequestRejected: ``request_id`` can't be the id of a request.
            TimedOut: a worker has not done it within ``timeout_s``. It will be done; to ask twice is safe.
            Unreachable: Kafka can't be reached.
        """
        request = naming(DeleteRequest, request_id)
        answer = await self._ask(request, new_id(), about=request_id, timeout_s=timeout_s)
        match answer:
            case Deleted():
                return answer
            case DeleteRefused():
                raise NotDeleted(answer)
        raise _unexpected(answer, request_id)

    async def _ask(self, request: Asked, event_id: str, *, about: str, timeout_s: float) -> Answer:
        """Publish an event that is answered once, and wait for the answer."""
        record = build_request(
            request, tenant=self.tenant, signer=self._signer, topics=self._topics, request_id=event_id
        )
        ends_at = asyncio.get_running_loop().time() + timeout_s
        with self._follower.expect(event_id, about) as expected:
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


def _unexpected(answer: Answer, request_id: str) -> ClientError:
    if isinstance(answer, Rejected):
        return RequestRejected(answer.error, request_id=request_id, event=answer)
    return Unreachable(f"an answer of another kind came: {answer.TYPE}", request_id=request_id)

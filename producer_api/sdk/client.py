"""The SDK: submit requests over Kafka and follow them to their pictures.

    import asyncio
    from producer_api import Client

    async def main() -> None:
        async with Client.from_env() as client:
            handle = await client.submit("a small red circle on a white background", model="easel-tiny", images=2)
            print([output.key for output in (await handle.result()).outputs])

    asyncio.run(main())

``from_env`` reads ``EASEL_TENANT``, ``EASEL_KID``, ``EASEL_KEY_FILE`` and ``EASEL_KAFKA_BOOTSTRAP_SERVERS``; see
``producer_api.sdk.config``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from producer_api.sdk.accounting import UsageEntry, read_usage
from producer_api.sdk.config import ClientConfig, ConfigurationError, signer_of
from producer_api.sdk.connection import Connection
from producer_api.sdk.download import by_key, by_url
from producer_api.sdk.exceptions import NotCanceled, NotDeleted
from producer_api.sdk.handles import Handle
from producer_api.sdk.many import Submission, submit_all
from producer_api.sdk.options import RequestOptions, naming, request_of
from producer_api.sdk.subscription import RESULTS, Handler, Positions, Subscription
from producer_api.wire import RequestEvent, TenantEvent
from schemas.connection import KafkaSettings, StoreSettings
from schemas.events import CancelAccepted, CancelRefused, Deleted, DeleteRefused, Priced, Succeeded
from schemas.ids import new_id
from schemas.outputs import Output
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.signing import Signer

__all__ = ["Client"]


class Client:
    """Publishes the requests of one tenant and follows their results. Use it as a context manager, in one event loop.

    ``key`` is the tenant's own private key (PEM text, or the path of a file) or HS256 secret, known to the installation
    as ``kid``; pass ``signer`` instead to sign as somebody who may speak for the tenant. ``installation`` is the name
    that requests are signed for. ``store`` is only needed to download by key. With ``own_topic`` it reads the results
    topic of its tenant alone, which is all that it may do on a cluster with access rules; progress is then not seen.
    """

    def __init__(
        self,
        *,
        tenant: str,
        signer: Signer | None = None,
        key: str | Path | None = None,
        kid: str | None = None,
        kafka: KafkaSettings | None = None,
        store: StoreSettings | None = None,
        installation: str = "easel",
        own_topic: bool = False,
    ) -> None:
        if signer is None:
            if key is None or kid is None:
                raise ConfigurationError("a client needs a signer, or a key and its kid")
            signer = signer_of(tenant=tenant, key=key, kid=kid, installation=installation)
        self.tenant = tenant
        self._own_topic = own_topic
        self._connection = Connection(
            tenant=tenant, signer=signer, kafka=kafka or KafkaSettings(), store=store, own_topic=own_topic
        )

    @classmethod
    def from_env(cls) -> Client:
        """A client as the environment describes it. Raises ``ConfigurationError``, naming the variable."""
        config = ClientConfig.from_env()
        return cls(
            tenant=config.tenant,
            signer=config.signer,
            kafka=config.kafka,
            store=config.store,
            own_topic=config.own_topic,
        )

    async def __aenter__(self) -> Self:
        """Connect. Raises ``Unreachable`` within 10 s."""
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    async def submit(
        self,
        prompt: str,
        *,
        model: str,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        timeout_s: float = 30.0,
        **options: Unpack[RequestOptions],
    ) -> Handle:
        """Publish a request; returns when all of Kafka's replicas have it.

        Until ``timeout_s`` has passed, a publish whose outcome is unknown is repeated with the same id and bytes, which
        admission recognizes. After that, or after a crash, submit again with the same ``request_id``: it is charged
        once. ``request_id`` is a UUIDv7 less than a day old, made when absent. Where an id can't be kept across a
        crash, an ``idempotency_key`` of one's own does the same, such as an order's number (1 to 255 visible ASCII
        characters): a second request under it is the first one, and its handle follows that. A W3C ``traceparent`` is
        carried through to the results.

        Raises:
            RequestRejected: the request can't be right, and was not published.
            TimedOut: Kafka has not acknowledged it; ``request_id`` of the error is the id to try again with.
            Unreachable: Kafka refuses this client, or following was given up.
        """
        id_ = request_id or new_id()
        request = request_of(prompt, model, options, id_)
        return await self.submit_request(
            request, request_id=id_, idempotency_key=idempotency_key, traceparent=traceparent, timeout_s=timeout_s
        )

    async def submit_request(
        self,
        request: GenerationRequest,
        *,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        timeout_s: float = 30.0,
    ) -> Handle:
        """``submit`` for a request that is already in its typed form."""
        return await self._connection.submit(
            request,
            request_id or new_id(),
            self.cancel,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            timeout_s=timeout_s,
        )

    def submit_many(
        self,
        requests: Iterable[Submission] | AsyncIterable[Submission],
        *,
        unacknowledged: int = 100,
        unfinished: int | None = None,
        timeout_s: float = 30.0,
    ) -> AsyncIterator[Handle]:
        """Publish many requests; their handles come in their order, each once all of Kafka's replicas have it.

        At most ``unacknowledged`` are being published at once, and the next request is only asked for when there is
        room: who takes handles slowly publishes slowly. ``unfinished`` limits how many may be under way until their
        ends, so that a long list stays below the tenant's limit on what is queued.

        Raises what ``submit`` does, at the handle that it is about. What follows it may have been published or not:
        with ids of one's own (``Submission.request_id``), the whole may be submitted again, and is charged once.
        """

        async def submit(one: Submission) -> Handle:
            return await self.submit_request(
                one.request, request_id=one.request_id, idempotency_key=one.idempotency_key, timeout_s=timeout_s
            )

        return submit_all(submit, requests, unacknowledged=unacknowledged, unfinished=unfinished)

    def follow(self, request_id: str) -> Handle:
        """A handle for a request of this tenant that was published before, here or elsewhere.

        What has been said of it is read back, as long as Kafka keeps it: 7 days. The handle raises ``ResultGone`` when
        nothing is found of a request that is older than 10 minutes.

        Raises ``RequestRejected`` for what can't be an id, and ``Unreachable`` when nothing can be followed any more.
        """
        return self._connection.follower.follow(naming(CancelRequest, request_id).request_id, self.cancel)

    async def result(self, request_id: str, *, timeout_s: float | None = None) -> Succeeded:
        """The pictures of a request that was published before; see ``follow`` and ``Handle.result``."""
        return await self.follow(request_id).result(timeout_s=timeout_s)

    def events(self, request_id: str) -> AsyncIterator[RequestEvent]:
        """What happened and happens to a request that was published before; see ``follow`` and ``Handle.events``."""
        return self.follow(request_id).events()

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
        answer = await self._connection.ask(
            request.model_copy(update={"dry_run": True}), id_, about=id_, timeout_s=timeout_s
        )
        if isinstance(answer, Priced):
            return answer
        raise self._connection.unexpected(answer, id_)

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
        answer = await self._connection.ask(request, new_id(), about=request_id, timeout_s=timeout_s)
        match answer:
            case CancelAccepted():
                return answer
            case CancelRefused():
                raise NotCanceled(answer)
        raise self._connection.unexpected(answer, request_id)

    async def delete(self, request_id: str, *, timeout_s: float = 60.0) -> Deleted:
        """Remove the pictures of a request that has ended. Returns once the store no longer holds them.

        Raises:
            NotDeleted: it has not ended (cancel it first), or there is no such request.
            RequestRejected: ``request_id`` can't be the id of a request.
            TimedOut: a worker has not done it within ``timeout_s``. It will be done; to ask twice is safe.
            Unreachable: Kafka can't be reached.
        """
        request = naming(DeleteRequest, request_id)
        answer = await self._connection.ask(request, new_id(), about=request_id, timeout_s=timeout_s)
        match answer:
            case Deleted():
                return answer
            case DeleteRefused():
                raise NotDeleted(answer)
        raise self._connection.unexpected(answer, request_id)

    async def usage(self, *, since: datetime | None = None, timeout_s: float = 60.0) -> AsyncIterator[UsageEntry]:
        """What was held, settled and refunded, entry by entry, in order and once each: up to now.

        ``since`` is the broker's time of the first entry; from the beginning (400 days) when None. The ``day`` and
        ``month`` of the last entry are the balances as they stand.

        Raises:
            TimedOut: they could not all be read within ``timeout_s``.
            Unreachable: Kafka can't be reached, or does not let this client read the usage topic.
        """
        for entry in await read_usage(self._connection.kafka, self.tenant, since, timeout_s=timeout_s):
            yield entry

    async def download(self, output: Output, *, url: str | None = None, timeout_s: float = 60.0) -> bytes:
        """A picture, held to its SHA-256: by its presigned ``url``, or by its key with the client's store settings.

        To fetch by key takes ``pip install 'easel[store]'``.

        Raises:
            ResultGone: it is no longer in the store.
            PictureDamaged: what came is not the picture.
            Unreachable: the store can't be reached, or refuses the key or URL.
            ConfigurationError: there are no store settings, or no S3 client.
        """
        if url is not None:
            return await by_url(url, output, timeout_s)
        return await by_key(self._connection.store, output, timeout_s)

    def subscribe(
        self,
        handler: Handler,
        *,
        group: str,
        types: tuple[type[TenantEvent], ...] = RESULTS,
        positions: Positions | None = None,
    ) -> Subscription:
        """Every result of this tenant, whoever asked for it, to ``handler``: see ``Subscription``."""
        return Subscription(
            self._connection.kafka,
            handler,
            group=group,
            tenant=self.tenant,
            own_topic=self._own_topic,
            types=types,
            positions=positions,
        )

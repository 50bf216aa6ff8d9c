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
import random
import time
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from pydantic import ValidationError

from producer_api.config import ClientConfig, ConfigurationError, signer_of
from producer_api.exceptions import RequestRejected, TimedOut, Unreachable
from producer_api.follower import Follower
from producer_api.handles import Handle
from producer_api.signed import build_request
from schemas.connection import KafkaSettings
from schemas.errors import EaselError
from schemas.ids import new_id, require_request_id
from schemas.outputs import ImageFormat
from schemas.requests import Adapter, GenerationRequest, Priority, invalid_request
from schemas.signing import Signer
from schemas.topics import Topics
from transport.errors import Doubt, Misconfigured, TransportError, Unavailable
from transport.kafka import Publisher
from transport.records import Outgoing

__all__ = ["Client", "RequestOptions"]

_ATTEMPT_S = 10.0
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 2.0


class RequestOptions(TypedDict, total=False):
    """What may be left to the model's defaults; limits and meanings are those of ``GenerationRequest``."""

    negative_prompt: str | None
    images: int
    width: int | None
    height: int | None
    steps: int | None
    guidance: float | None
    seed: int | None
    style: str | None
    adapters: list[Adapter]
    source_image: str | None
    strength: float | None
    mask_image: str | None
    format: ImageFormat
    quality: int
    priority: Priority
    deadline: datetime | None
    metadata: dict[str, str]


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
        timeout_s: float = 30.0,
        **options: Unpack[RequestOptions],
    ) -> Handle:
        """Publish a request; returns when all of Kafka's replicas have it.

        Until ``timeout_s`` has passed, a publish whose outcome is unknown is repeated with the same id and bytes, which
        admission recognizes. After that, or after a crash, submit again with the same ``request_id``: it is charged
        once. ``request_id`` is a UUIDv7 less than a day old, made when absent.

        Raises:
            RequestRejected: the request can't be right, and was not published.
            TimedOut: Kafka has not acknowledged it; ``request_id`` of the error is the id to try again with.
            Unreachable: Kafka refuses this client, or following was given up.
        """
        id_ = request_id or new_id()
        try:
            request = GenerationRequest(prompt=prompt, model=model, **options)
        except ValidationError as error:
            raise RequestRejected(invalid_request(error).body(), request_id=id_) from None
        return await self.submit_request(request, request_id=id_, timeout_s=timeout_s)

    async def submit_request(
        self, request: GenerationRequest, *, request_id: str | None = None, timeout_s: float = 30.0
    ) -> Handle:
        """``submit`` for a request that is already in its typed form."""
        id_ = request_id or new_id()
        try:
            require_request_id(id_, at_ms=int(time.time() * 1000))
        except EaselError as error:
            raise RequestRejected(error.body(), request_id=id_) from None
        record = build_request(request, tenant=self.tenant, signer=self._signer, topics=self._topics, request_id=id_)
        # Before the publish, so that no answer can come before there is somebody to take it.
        handle = self._follower.register(id_)
        try:
            await self._publish(record, id_, timeout_s)
        except BaseException:
            self._follower.forget(handle)
            raise
        return handle

    async def _publish(self, record: Outgoing, request_id: str, timeout_s: float) -> None:
        ends_at = asyncio.get_running_loop().time() + timeout_s
        backoff_s = _BACKOFF_S
        while True:
            left_s = ends_at - asyncio.get_running_loop().time()
            try:
                await self._publisher.publish(record, timeout_s=max(0.0, min(left_s, _ATTEMPT_S)))
                return
            except Misconfigured as error:
                raise Unreachable(str(error), request_id=request_id) from error
            except (Unavailable, Doubt) as error:
                # Spread out, so that all publishers of a cluster that comes back don't come back with it at once.
                pause_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311
                if asyncio.get_running_loop().time() + pause_s >= ends_at:
                    raise TimedOut(
                        f"not acknowledged within {timeout_s:g} s: {error}", request_id=request_id
                    ) from error
                await asyncio.sleep(pause_s)
                backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

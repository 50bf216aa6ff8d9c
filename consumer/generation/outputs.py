"""Pictures into the store, and the manifest that says which of them count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import ValidationError

from consumer.faults import fault
from consumer.generation.encoding import File, Picture, recorded
from consumer.generation.jobs import Job
from schemas.outputs import MEDIA_TYPES, Manifest, Output, manifest_key, output_key, request_prefix
from transport.errors import NotFound, TransportError
from transport.logs import logger
from transport.objects import ObjectStore

__all__ = ["Outputs", "StoreFailedError", "persistently"]

T = TypeVar("T")

_TRY_FOR_S = 60.0
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0

_log = logger("generation")


class StoreFailedError(Exception):
    """The store did not do it for as long as we try."""


class Outputs:
    """Stores pictures under their content's hash, and the manifest last."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def save(self, picture: Picture, file: File) -> Output:
        """Store one picture. Raises ``StoreFailedError``."""
        parameters, assigned, index = picture.job.parameters, picture.job.assigned, picture.index
        key = output_key(assigned.tenant, assigned.request_id, index, file.sha256, parameters.format)
        media_type = MEDIA_TYPES[parameters.format]
        fault("generation.before_put")
        await persistently(lambda: self._store.put(key, file.data, content_type=media_type))
        fault("generation.after_put")
        height, width = picture.pixels.shape[:2]
        return Output(
            index=index,
            key=key,
            sha256=file.sha256,
            bytes=len(file.data),
            media_type=media_type,
            width=width,
            height=height,
            seed=parameters.seeds()[index],
            flagged=index in picture.job.flagged,
            blurred=index in picture.job.blurred,
        )

    async def write_manifest(self, job: Job, outputs: list[Output]) -> Manifest:
        """Say what was made; to be called last, when every picture is stored. Raises ``StoreFailedError``."""
        assigned, parameters = job.assigned, job.parameters
        manifest = Manifest(
            tenant=assigned.tenant,
            request_id=assigned.request_id,
            attempt=assigned.attempt,
            model=parameters.model,
            weights_revision=job.weights_revision,
            outputs=outputs,
            asked=parameters.images,
            blocked=job.blocked,
            engine_ms=round(job.engine_s * 1000),
            parameters=recorded(job),
        )
        key = manifest_key(assigned.tenant, assigned.request_id)
        data = manifest.model_dump_json(indent=1).encode()
        fault("generation.before_manifest")
        await persistently(lambda: self._store.put(key, data, content_type="application/json"))
        fault("generation.after_manifest")
        return manifest

    async def manifest(self, job: Job) -> Manifest | None:
        """The manifest of its request, where one is there already. Raises ``StoreFailedError``."""
        key = manifest_key(job.assigned.tenant, job.assigned.request_id)
        try:
            data = await persistently(lambda: self._store.get(key))
        except NotFound:
            return None
        try:
            return Manifest.model_validate_json(data)
        except ValidationError:
            # Written whole or not at all, so this is another version's: made anew, it is one of ours.
            _log.warning("a manifest can't be read and is made anew", **job.log_facts())
            return None

    async def remove(self, tenant: str, request_id: str) -> int:
        """Delete everything of a request, the manifest first; how many objects that were. Raises ``TransportError``."""
        manifest = manifest_key(tenant, request_id)
        keys = [found.key async for found in self._store.list(request_prefix(tenant, request_id))]
        for key in sorted(keys, key=lambda key: key != manifest):
            await self._store.delete(key)
            if key == manifest:
                fault("generation.after_manifest_deleted")
        return len(keys)


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Ask the store again and again, for a minute. Raises ``NotFound``, and ``StoreFailedError`` after that."""
    began, delay = time.monotonic(), _BACKOFF_S
    while True:
        try:
            return await call()
        except NotFound:
            raise
        except TransportError as error:
            if time.monotonic() - began + delay > _TRY_FOR_S:
                raise StoreFailedError(str(error)) from error
            _log.warning("the store will be asked again", reason=str(error))
        await asyncio.sleep(delay)
        delay = min(delay * 2, _MAX_BACKOFF_S)

"""Pictures into bytes and into the store, and the manifest that says which of them count."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

from consumer.engine.contract import Pixels
from consumer.faults import fault
from consumer.generation.jobs import Job
from consumer.logs import logger
from schemas.outputs import MEDIA_TYPES, ImageFormat, Manifest, Output, manifest_key, output_key, request_prefix
from transport.errors import NotFound, TransportError
from transport.objects import ObjectStore

__all__ = ["Outputs", "StoreFailedError", "encode", "persistently", "provenance"]

T = TypeVar("T")

_TRY_FOR_S = 60.0
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0
_ENCODERS = 2
_EXIF_DESCRIPTION = 0x010E
_EXIF_SOFTWARE = 0x0131
_SOFTWARE = "easel"
_PNG_KEY = "easel"

_log = logger("generation")


class StoreFailedError(Exception):
    """The store did not do it for as long as we try."""


class Outputs:
    """Encodes in threads (Pillow frees the interpreter while it compresses) and stores under the content's hash."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="encode")

    async def save(self, job: Job, index: int, pixels: Pixels) -> Output:
        """Encode and store one picture. Raises ``StoreFailedError``."""
        parameters, assigned = job.parameters, job.assigned
        seed = parameters.seeds()[index]
        data = await asyncio.get_running_loop().run_in_executor(
            self._threads, encode, pixels, parameters.format, parameters.quality, provenance(job, seed)
        )
        sha256 = hashlib.sha256(data).hexdigest()
        key = output_key(assigned.tenant, assigned.request_id, index, sha256, parameters.format)
        media_type = MEDIA_TYPES[parameters.format]
        fault("generation.before_put")
        await persistently(lambda: self._store.put(key, data, content_type=media_type))
        fault("generation.after_put")
        height, width = pixels.shape[:2]
        return Output(
            index=index,
            key=key,
            sha256=sha256,
            bytes=len(data),
            media_type=media_type,
            width=width,
            height=height,
            seed=seed,
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
            engine_ms=round(job.engine_s * 1000),
            parameters=_recorded(job),
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

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def provenance(job: Job, seed: int) -> dict[str, Any]:
    """What a picture says of itself."""
    return {
        "request_id": job.assigned.request_id,
        "model": job.parameters.model,
        "weights_revision": job.weights_revision,
        "seed": seed,
        "parameters": _recorded(job),
    }


def encode(pixels: Pixels, format: ImageFormat, quality: int, facts: dict[str, Any]) -> bytes:  # noqa: A002
    """The picture (height x width x 3) as a file, with ``facts`` as JSON in it: in a PNG as the text ``easel``, else as
    EXIF's ImageDescription. Equal input makes equal bytes. ``quality`` is for jpeg and webp."""
    image = Image.fromarray(pixels, "RGB")
    file = io.BytesIO()
    if format == "png":
        text = PngInfo()
        text.add_text("Software", _SOFTWARE)
        text.add_itxt(_PNG_KEY, json.dumps(facts, ensure_ascii=False, sort_keys=True))
        image.save(file, "PNG", pnginfo=text)
        return file.getvalue()
    exif = Image.Exif()
    exif[_EXIF_SOFTWARE] = _SOFTWARE
    exif[_EXIF_DESCRIPTION] = json.dumps(facts, sort_keys=True)
    image.save(file, format.upper(), quality=quality, exif=exif)
    return file.getvalue()


def _recorded(job: Job) -> dict[str, Any]:
    return job.parameters.model_dump(mode="json", exclude_none=True, exclude={"model", "priority", "deadline"})


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

"""The object store: plain S3 calls, so that an endpoint is all that ties an installation to a product."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from schemas.connection import StoreSettings
from transport.errors import Misconfigured, NotFound, TransportError, Unavailable
from transport.expiry import with_expiry

__all__ = ["ObjectInfo", "ObjectStore"]

T = TypeVar("T")

# Enough to upload a batch of pictures at once; a store on the same machine is saturated by sixteen.
_THREADS = 16
_TRIES = 3
_CHUNK_BYTES = 64 * 1024
_PAGE = 500
_RETRIED_STATUS = (500, 502, 503, 504)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchVersion"})
_THERE = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_REFUSED = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "InvalidBucketName", "BadDigest"}
)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store says about an object. ``size`` in bytes; ``last_modified`` is the store's clock, in UTC."""

    key: str
    size: int
    content_type: str | None
    """Absent in listings, which do not say it."""
    etag: str
    last_modified: datetime


class ObjectStore:
    """One bucket of an S3 store. Every call ends within ``settings.timeout_s``, its repetitions included.

    All methods raise Unavailable when the store does not answer in time or asks to slow down, and Misconfigured when it
    refuses the keys or has no such bucket.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._bucket = settings.bucket
        self._where = f"bucket {settings.bucket} at {settings.endpoint}"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        # A thread cannot be cancelled: its socket must give up no later than the call that waits for it.
        each = settings.timeout_s / _TRIES
        self._pool = urllib3.PoolManager(
            maxsize=_THREADS,
            timeout=urllib3.Timeout(connect=each, read=each),
            retries=urllib3.Retry(
                total=_TRIES - 1,
                backoff_factor=0.1,
                status_forcelist=_RETRIED_STATUS,
                # A store that has just started says two minutes, and is there in seconds: the thread would sleep on,
                # long after its caller was told.
                respect_retry_after_header=False,
            ),
            ca_certs=settings.ca_file and str(settings.ca_file),
        )
        self._client = self._minio(settings.endpoint, secure=settings.secure)
        public = urlsplit(settings.public_url or "")
        self._public = self._minio(public.netloc, secure=public.scheme == "https") if public.netloc else self._client

    async def ensure_bucket(self) -> bool:
        """Makes the bucket if it is not there. Returns whether it was made now."""
        try:
            if await self._call("looking for the bucket", self._client.bucket_exists, self._bucket):
                return False
            await self._call("making the bucket", self._client.make_bucket, self._bucket, self._settings.region)
        except TransportError as err:
            # Another process may have made it between the two calls.
            if isinstance(err.__cause__, S3Error) and err.__cause__.code == "BucketAlreadyOwnedByYou":
                return False
            raise
        return True

    async def expire(self, prefix: str, days: int) -> None:
        """Has the store delete what is under ``prefix`` so many days after it was written. Other rules stay.

        Between two who do this at the same time, the later one wins.
        """
        doing = f"setting the expiry of {prefix}"
        rules = await self._call(doing, self._client.get_bucket_lifecycle, self._bucket)
        await self._call(doing, self._client.set_bucket_lifecycle, self._bucket, with_expiry(rules, prefix, days))

    async def put(self, key: str, data: bytes, *, content_type: str, metadata: Mapping[str, str] | None = None) -> None:
        """Stores ``data`` under ``key``, whole or not at all. ``metadata`` is ASCII."""
        await self._call(
            f"storing {key}",
            self._client.put_object,
            self._bucket,
            key,
            BytesIO(data),
            len(data),
            content_type=content_type,
            metadata=dict(metadata) if metadata else None,
        )

    async def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """Stores ``data`` unless there is something under ``key``; of several who do so at once, one does.

        Returns whether it did. A store that knows no ``If-None-Match`` stores it in any case: look there before.
        """
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        try:
            await self._call(f"storing {key}", self._client._put_object, self._bucket, key, data, headers)
        except TransportError as err:
            if isinstance(err.__cause__, S3Error) and err.__cause__.code in _THERE:
                return False
            raise
        return True

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        """Stores a file, whole or not at all; it is read in pieces of 5 MiB."""
        await self._call(
            f"storing {key}",
            self._client.fput_object,
            self._bucket,
            key,
            str(path),
            content_type=content_type,
            num_parallel_uploads=1,
        )

    async def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        return await self._call(f"reading {key}", self._read, key)

    async def stat(self, key: str) -> ObjectInfo:
        """What the store knows about the object. Raises NotFound."""
        found = await self._call(f"looking up {key}", self._client.stat_object, self._bucket, key)
        return _info(key, found)

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            await self.stat(key)
        except NotFound:
            return False
        return True

    async def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from ``offset`` on, all or ``length`` (at least 1) of them, in 64 KiB pieces. Raises NotFound."""
        doing = f"reading {key}"
        opening = self._threads.submit(self._client.get_object, self._bucket, key, offset=offset, length=length or 0)
        under_way: Future[BaseHTTPResponse] | Future[bytes] = opening
        try:
            response = await self._told(doing, opening)
            while True:
                under_way = reading = self._threads.submit(response.read, _CHUNK_BYTES)
                if not (piece := await self._told(doing, reading)):
                    break
                yield piece
        finally:
            # Whoever waited may be gone. The thread still is in its call, and a close would wait for that.
            under_way.add_done_callback(lambda _: _close_opened(opening))

    def presign_get(self, key: str, ttl_s: float) -> str:
        """A URL by which anyone can read the object for ``ttl_s`` seconds (1 s to 7 days). Asks nobody.

        It names ``settings.public_url``, where there is one: the signature is over the host too.
        """
        return self._public.presigned_get_object(self._bucket, key, expires=timedelta(seconds=ttl_s))

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Every object whose key begins with ``prefix``, in the order of the keys."""
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        while page := await self._call(f"listing {prefix}", lambda: [*islice(found, _PAGE)]):
            for entry in page:
                yield _info(str(entry.object_name), entry)

    async def delete(self, key: str) -> None:
        """Removes the object; it is no error if there is none."""
        await self._call(f"deleting {key}", self._client.remove_object, self._bucket, key)

    async def close(self) -> None:
        """Closes the connections. Calls under way end by their own limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _minio(self, endpoint: str, *, secure: bool) -> Minio:
        access_key, secret_key = self._settings.access_key, self._settings.secret_key
        return Minio(
            endpoint,
            access_key=access_key.get_secret_value() if access_key else None,
            secret_key=secret_key.get_secret_value() if secret_key else None,
            secure=secure,
            # Named, so that no call, and no signing of a URL, has to ask for it first.
            region=self._settings.region,
            http_client=self._pool,
        )

    def _read(self, key: str) -> bytes:
        response = self._client.get_object(self._bucket, key)
        try:
            return bytes(response.read())
        finally:
            _close(response)

    async def _call(self, doing: str, function: Callable[..., T], *args: object, **options: object) -> T:
        return await self._told(doing, self._threads.submit(function, *args, **options))

    async def _told(self, doing: str, call: Future[T]) -> T:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await asyncio.wrap_future(call)
        except (MinioException, HTTPError, OSError) as err:
            raise self._translated(err, doing) from err
        except ValueError as err:
            raise Misconfigured(f"{doing}: {err}", "correct the bucket, key or metadata", where=self._where) from err

    def _translated(self, err: Exception, doing: str) -> TransportError:
        code = err.code if isinstance(err, S3Error) else _unread_code(err)
        if code in _MISSING:
            return NotFound(f"{doing}: there is no such object", where=self._where)
        if code in _REFUSED:
            return Misconfigured(f"{doing}: {code}", "check endpoint, bucket, region and keys", where=self._where)
        # Not the error's own text: it may hold a signed URL.
        why = code or ("no answer within the time limit" if isinstance(err, TimeoutError) else type(err).__name__)
        return Unavailable(f"{doing}: {why}", "is the store up and reachable?", where=self._where)


def _close(response: BaseHTTPResponse) -> None:
    # Half-read, the connection cannot serve another request.
    response.close()
    response.release_conn()


def _close_opened(opening: Future[BaseHTTPResponse]) -> None:
    if not opening.cancelled() and not opening.exception():
        _close(opening.result())


def _unread_code(err: Exception) -> str | None:
    """S3's code in an answer that the client did not read: rclone labels its XML text/xml, not application/xml."""
    found = _CODE.search(str(err)) if isinstance(err, InvalidResponseError) else None
    return found[1] if found else None


def _info(key: str, found: object) -> ObjectInfo:
    modified = getattr(found, "last_modified", None) or datetime.fromtimestamp(0, UTC)
    return ObjectInfo(
        key=key,
        size=int(getattr(found, "size", 0) or 0),
        content_type=getattr(found, "content_type", None),
        etag=str(getattr(found, "etag", "") or ""),
        last_modified=modified.astimezone(UTC),
    )

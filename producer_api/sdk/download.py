"""Fetching pictures: from the store with keys of one's own, or by a presigned URL. What comes is held to its hash."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from producer_api.sdk.config import ConfigurationError
from producer_api.sdk.exceptions import PictureDamaged, ResultGone, Unreachable
from schemas.outputs import Output
from transport.errors import NotFound, TransportError

if TYPE_CHECKING:
    from schemas.connection import StoreSettings
    from transport.objects import ObjectStore

__all__ = ["by_key", "by_url", "open_store"]

_EXPIRED = (401, 403)
_GONE = (404, 410)


def open_store(settings: StoreSettings | None) -> ObjectStore:
    """The store as the settings have it. Raises ``ConfigurationError``."""
    if settings is None:
        raise ConfigurationError(
            "the client has no store to fetch from: set EASEL_STORE_ENDPOINT and its keys, pass store=, or give the "
            "picture's presigned url"
        )
    try:
        # Not with the SDK: most of its users have no keys of the store.
        from transport.objects import ObjectStore
    except ImportError:
        raise ConfigurationError("to fetch pictures by key takes the S3 client: pip install 'easel[store]'") from None
    return ObjectStore(settings)


async def by_key(store: ObjectStore, output: Output, timeout_s: float) -> bytes:
    """The picture, from the store. Raises what ``Client.download`` does."""
    try:
        async with asyncio.timeout(timeout_s):
            return _held_to_its_hash(await store.get(output.key), output)
    except NotFound:
        raise ResultGone(f"the picture {output.key} is no longer in the store") from None
    except TimeoutError:
        raise Unreachable(f"the picture {output.key} did not come within {timeout_s:g} s") from None
    except TransportError as error:
        raise Unreachable(str(error)) from error


async def by_url(url: str, output: Output, timeout_s: float) -> bytes:
    """The picture, by a presigned URL. Raises what ``Client.download`` does."""
    if not url.startswith(("https://", "http://")):
        raise ConfigurationError("the url of a picture begins with https:// or http://")
    try:
        # The thread gives up by itself, a little later at most: each of its reads has the limit too.
        async with asyncio.timeout(timeout_s):
            return _held_to_its_hash(await asyncio.to_thread(_fetch, url, output.bytes, timeout_s), output)
    except urllib.error.HTTPError as error:
        if error.code in _GONE:
            raise ResultGone(f"the picture {output.key} is no longer in the store") from None
        hint = ": the URL has expired, ask for another" if error.code in _EXPIRED else ""
        raise Unreachable(f"the store answered {error.code} for {output.key}{hint}") from None
    except (OSError, http.client.HTTPException) as error:
        # Not the error's own text: it may hold the URL, which is a key for a while.
        raise Unreachable(f"the picture {output.key} could not be fetched: {type(error).__name__}") from None


def _fetch(url: str, length: int, timeout_s: float) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - the scheme is looked at above
            # One byte more shows that it is too long.
            return bytes(answer.read(length + 1))
    except urllib.error.HTTPError as refused:
        # It is an answer too, and has the connection for as long as anyone keeps the error.
        refused.close()
        raise


def _held_to_its_hash(picture: bytes, output: Output) -> bytes:
    if hashlib.sha256(picture).hexdigest() != output.sha256:
        raise PictureDamaged(f"what lies under {output.key} is not the picture: its SHA-256 differs")
    return picture

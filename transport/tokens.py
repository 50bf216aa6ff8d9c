"""Access tokens for OAUTHBEARER: from a file that somebody else keeps fresh, or from an issuer's token endpoint."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import aiokafka.errors as kafka
from aiokafka.abc import AbstractTokenProvider

from schemas.connection import KafkaSettings
from transport.errors import Misconfigured

if TYPE_CHECKING:
    import httpx

__all__ = ["EndpointTokens", "FileTokens", "token_provider"]

log = logging.getLogger(__name__)

_CALL_S = 5.0
_FRESH_SHARE = 0.8
"""A token is replaced when this share of its life is over: the clocks of issuer and broker differ."""
_UNSTATED_LIFE_S = 60.0
_LARGEST_ANSWER = 64 * 1024


def token_provider(settings: KafkaSettings) -> AbstractTokenProvider:
    """What gives each connection its token. Clients with the same settings share one, and so its tokens."""
    if settings.token_file is not None:
        return FileTokens(settings.token_file)
    return _shared(settings)


@lru_cache(maxsize=32)
def _shared(settings: KafkaSettings) -> EndpointTokens:
    return EndpointTokens(settings)


class FileTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Reads the file anew for each connection, as a platform that rotates it (a Kubernetes volume) expects."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """Raises the Kafka client's connection error, which it tries again."""
        try:
            found = (await asyncio.to_thread(self._path.read_text, "utf-8")).strip()
        except (OSError, UnicodeDecodeError) as err:
            raise kafka.KafkaConnectionError(f"no token: {self._path} can't be read: {err}") from None
        if not found:
            raise kafka.KafkaConnectionError(f"no token: {self._path} is empty")
        return found


class EndpointTokens(AbstractTokenProvider):  # type: ignore[misc]
    """The client credentials grant (RFC 6749, section 4.4), with the client's id and secret as HTTP Basic.

    Raises ``Misconfigured`` when made, where httpx is not installed.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        try:
            import httpx
        except ImportError:
            raise Misconfigured(
                "tokens from an endpoint need httpx, which is not installed", "install it, or set token_file"
            ) from None
        self._httpx = httpx
        self._url = settings.token_endpoint or ""
        secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
        # Section 2.3.1: both are form-encoded before they become user and password.
        self._auth = (quote(settings.client_id or "", safe=""), quote(secret, safe=""))
        self._form = {"grant_type": "client_credentials"} | ({"scope": settings.scope} if settings.scope else {})
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._token = ""
        self._refresh_at = self._expires_at = 0.0

    async def token(self) -> str:
        """A token with life left in it. Raises the Kafka client's connection error, which it tries again."""
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if time.monotonic() >= self._refresh_at:
                try:
                    await self._fetch()
                except kafka.KafkaConnectionError as err:
                    if time.monotonic() >= self._expires_at:
                        raise
                    log.warning("%s; the token before it still lives", err)
        return self._token

    async def _fetch(self) -> None:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(_CALL_S), self._httpx.AsyncClient(timeout=_CALL_S) as client:
                answer = await client.post(self._url, data=self._form, auth=self._auth)
        except (self._httpx.HTTPError, TimeoutError) as err:
            raise self._failure(f"{type(err).__name__}") from None
        self._token, life_s = self._read(answer)
        self._expires_at = asked_at + life_s
        self._refresh_at = asked_at + life_s * _FRESH_SHARE

    def _read(self, answer: httpx.Response) -> tuple[str, float]:
        # Never the answer itself: it may hold a token.
        if answer.status_code != self._httpx.codes.OK:
            raise self._failure(f"HTTP {answer.status_code}{_code(answer)}: check client_id, client_secret and scope")
        body = _json(answer)
        token, life_s = body.get("access_token"), body.get("expires_in", _UNSTATED_LIFE_S)
        if not isinstance(token, str) or not token or not isinstance(life_s, int | float) or life_s <= 0:
            raise self._failure("its answer has no access_token, or no life left in it")
        return token, float(life_s)

    def _failure(self, why: str) -> kafka.KafkaConnectionError:
        return kafka.KafkaConnectionError(f"no token from {self._url}: {why}")


def _code(answer: httpx.Response) -> str:
    code = _json(answer).get("error")
    return f" ({code})" if isinstance(code, str) and code.isidentifier() else ""


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json() if len(answer.content) <= _LARGEST_ANSWER else None
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}

"""Calls to URLs that a tenant names, guarded: a tenant must not reach through easel what it could not reach by itself.

The name is resolved once for each connection, every address that it has must be allowed, and the connection is made to
one of the very addresses that were looked at: a name that answers differently the next time gains nothing. No proxy is
taken from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from ipaddress import ip_address
from typing import BinaryIO, Self

import httpcore
import httpx

from schemas.addresses import AllowList
from schemas.settings import OutboundSettings
from transport.errors import AddressRefused, AnswerRefused, Unavailable

__all__ = ["Fetched", "OutboundPolicy", "Posted", "Resolver", "fetch", "post"]

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses that a name has. Raises ``OSError`` for one that has none."""

_MAX_URL_CHARS = 2_048
_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_TRIED = 3
"""Addresses of a name to which a connection is tried."""
_HEAD_BYTES = 4_096
_CONNECT_S = 5.0
_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


_NAMES = ThreadPoolExecutor(8, thread_name_prefix="names")
"""Threads of their own: a name server that hangs must not keep all else that waits for a thread."""


async def _resolve(name: str) -> Sequence[str]:
    look_up = partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_NAMES, look_up)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """What may be called. ``ports``: None means any."""

    ports: frozenset[int] | None = frozenset({443})
    allow: AllowList = field(default_factory=AllowList)
    plain_http: bool = False
    resolve: Resolver = _resolve
    tls: ssl.SSLContext | None = None
    """Whose certificates are believed; the public authorities' where there is none."""

    @classmethod
    def of(cls, settings: OutboundSettings) -> Self:
        """The policy of an installation."""
        ports = None if settings.ports == "any" else frozenset(int(port) for port in settings.ports.split(","))
        return cls(ports=ports, allow=AllowList.read(settings.allow or ""), plain_http=settings.plain_http)

    def read(self, url: str) -> httpx.URL:
        """The parts of a URL that may be called, as far as it says by itself. Raises ``AddressRefused``."""
        try:
            parts = httpx.URL(url) if len(url) <= _MAX_URL_CHARS else None
            callable_ = parts is not None and bool(parts.host) and 0 < _port(parts) < 2**16
        except (httpx.InvalidURL, ValueError):
            # Also for a host that begins as an international name, and is none.
            parts, callable_ = None, False
        if parts is None or not callable_:
            raise AddressRefused("it is no URL that can be called", f"at most {_MAX_URL_CHARS} characters, with a host")
        if parts.scheme != "https" and not (self.plain_http and parts.scheme == "http"):
            raise AddressRefused(f"its scheme is {parts.scheme[:20]!r}", "use https")
        if parts.userinfo:
            raise AddressRefused("it holds a user name or a password", "leave them out")
        if self.ports is not None and _port(parts) not in self.ports:
            raise AddressRefused(f"port {_port(parts)} is not allowed", "an operator may set EASEL_OUTBOUND_PORTS")
        return parts

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host, all of them allowed. Raises ``AddressRefused`` and ``Unavailable``."""
        name = host.lower().removesuffix(".")
        try:
            found = [str(ip_address(host))]
        except ValueError:
            try:
                found = list(await self.resolve(host))
            except (OSError, UnicodeError):
                found = []
        if not found:
            raise Unavailable("the name of the host has no address", where=name)
        # One that is not allowed condemns the name: it is how a name slips past a check that looks at the first.
        if not all(self.allow.has(ip_address(address), name) for address in found):
            # Which address it was stays here: it would tell how the network within is laid out.
            raise AddressRefused(
                "the host is not on the public internet", "an operator may set EASEL_OUTBOUND_ALLOW", where=name
            )
        return found


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched. ``url`` is the one that answered, after redirects; ``size`` in bytes."""

    url: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Posted:
    """What a server answered. Header names are in lower case; ``head`` is how its body begins, at most 4 KiB."""

    status: int
    headers: Mapping[str, str]
    head: bytes


async def fetch(
    url: str, into: BinaryIO, *, policy: OutboundPolicy, max_bytes: int, timeout_s: float, types: Iterable[str]
) -> Fetched:
    """GET what a URL leads to, over at most 3 redirects, and write it to ``into``, a file that does not block for long.

    ``timeout_s`` is the limit on all of it: a server that sends a byte a second ends there too. ``types`` are the media
    types that may be answered. Raises ``AddressRefused``, ``AnswerRefused`` and ``Unavailable``; what was written by
    then is of no use.
    """
    accepted = frozenset(types)
    # Not compressed: some kilobytes could become gigabytes.
    headers = {"Accept": ", ".join(sorted(accepted)), "Accept-Encoding": "identity", "User-Agent": "easel"}
    async with _within(timeout_s):
        for _ in range(_MAX_REDIRECTS + 1):
            parts = policy.read(url)
            async with _called("GET", parts, headers, None, policy) as answer:
                location = _headers(answer).get("location")
                if answer.status in _REDIRECTS and location:
                    url = _joined(parts, location)
                    continue
                return await _kept(answer, parts, into, max_bytes, accepted)
    raise AnswerRefused(f"it leads over more than {_MAX_REDIRECTS} redirects", "name where they lead", where=_host(url))


async def post(
    url: str, *, body: bytes, headers: Mapping[str, str], policy: OutboundPolicy, timeout_s: float
) -> Posted:
    """POST ``body``; redirects are not followed. Raises ``AddressRefused`` and ``Unavailable``."""
    async with _within(timeout_s):
        parts = policy.read(url)
        own = {"User-Agent": "easel", "Accept-Encoding": "identity", **headers}
        async with _called("POST", parts, own, body, policy) as answer:
            head = b""
            async for piece in answer.aiter_stream():
                head += piece
                if len(head) >= _HEAD_BYTES:
                    break
            return Posted(answer.status, _headers(answer), head[:_HEAD_BYTES])


@contextlib.asynccontextmanager
async def _within(timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise Unavailable(f"it did not answer whole within {timeout_s:g} s") from None


@contextlib.asynccontextmanager
async def _called(
    method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes | None, policy: OutboundPolicy
) -> AsyncIterator[httpcore.Response]:
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    pool = httpcore.AsyncConnectionPool(
        ssl_context=policy.tls or _public_tls(), network_backend=_Checked(policy), http1=True, http2=False
    )
    try:
        named = [("Host", url.netloc.decode("ascii")), *headers.items()]
        async with pool, pool.stream(method, target, headers=named, content=body) as answer:
            yield answer
    except _FAILURES as error:
        raise Unavailable(f"the call failed: {type(error).__name__}", where=url.host) from error


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, and to nothing else."""

    def __init__(self, policy: OutboundPolicy) -> None:
        self._policy = policy
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the library's signature; the whole call has a limit
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = (await self._policy.addresses(host))[:_MOST_TRIED]
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._network.connect_tcp(address, port, _CONNECT_S, local_address, socket_options)
        return await self._network.connect_tcp(addresses[-1], port, _CONNECT_S, local_address, socket_options)


async def _kept(
    answer: httpcore.Response, url: httpx.URL, into: BinaryIO, max_bytes: int, accepted: frozenset[str]
) -> Fetched:
    headers = _headers(answer)
    if answer.status != 200:
        raise AnswerRefused(f"it was answered with the status {answer.status}", "name what can be read", where=url.host)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in accepted:
        raise AnswerRefused(
            f"it has the type {media_type[:80]!r}", f"name one of {', '.join(sorted(accepted))}", where=url.host
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise AnswerRefused("it is compressed for the way, though it was not to be", where=url.host)
    declared = headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() else 0
    if size <= max_bytes:
        size = 0
        async for piece in answer.aiter_stream():
            size += len(piece)
            if size > max_bytes:
                break
            into.write(piece)
    if size > max_bytes:
        raise AnswerRefused(f"it is larger than {max_bytes} bytes", "name a smaller one", where=url.host)
    return Fetched(str(url), media_type, size)


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except httpx.InvalidURL:
        raise AnswerRefused("it redirects to what is no URL", where=url.host) from None


def _headers(answer: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}


def _host(url: str) -> str:
    return httpx.URL(url).host


def _port(url: httpx.URL) -> int:
    if url.port is not None:
        return url.port
    return 443 if url.scheme == "https" else 80


@cache
def _public_tls() -> ssl.SSLContext:
    return ssl.create_default_context()

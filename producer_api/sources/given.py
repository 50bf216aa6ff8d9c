"""A source as a request over HTTP names it: the key of a picture, the picture itself, or where it is to be fetched."""

from __future__ import annotations

import asyncio
import binascii
import re
from typing import BinaryIO

from producer_api.services import Services
from producer_api.sources.keeping import Writer, invalid
from schemas.errors import Code, EaselError, ErrorType
from schemas.outputs import MEDIA_TYPES
from schemas.sources import EXTENSIONS, MAX_SOURCE_BYTES
from transport.errors import AddressRefused, AnswerRefused, Unavailable
from transport.outbound import OutboundPolicy, fetch

__all__ = ["keep", "require_active"]

_DATA = re.compile(r"data:(?P<type>image/[a-z0-9.+-]{1,40})?;base64,")
_CHARS = 4 * 2**18
"""Of base64, decoded at a time; a multiple of four."""
_FETCH_S = 20.0
_TYPES = (*(MEDIA_TYPES[name] for name in EXTENSIONS), "application/octet-stream", "binary/octet-stream")


def require_active(services: Services, tenant: str) -> None:
    """Raise ``EaselError(tenant_suspended)`` unless the tenant may ask for anything new, or give a picture for it."""
    entry = services.keyring.tenant(tenant)
    if entry is not None and entry.status == "suspended":
        raise EaselError(
            Code.TENANT_SUSPENDED, f"the tenant {tenant!r} is suspended: ask the operator", type=ErrorType.PERMISSION
        )


async def keep(services: Services, tenant: str, given: str, *, param: str) -> str:
    """The key of a source: a key as it is, for admission to judge; else that of the picture, once it is in the store.

    ``given`` is a key, ``data:image/…;base64,…``, or an ``https`` URL where ``EASEL_API_SOURCE_URLS`` allows them; the
    same picture has the same key. Raises as ``Keeper.keep`` does, and ``EaselError`` for a URL that is not fetched.
    """
    if given.startswith("data:"):
        write = _inline(given, param)
    elif given.lower().startswith(("https:", "http:")):
        write = _fetched(services, given, param)
    else:
        return given
    require_active(services, tenant)
    return (await services.sources.keep(tenant, write, param=param)).key


def _inline(given: str, param: str) -> Writer:
    head = _DATA.match(given)
    if head is None:
        raise invalid(param, "its data URL does not begin with data:image/png;base64, (or jpeg, webp)")
    if (len(given) - head.end()) // 4 * 3 > MAX_SOURCE_BYTES + 2:
        raise invalid(param, f"it is larger than {MAX_SOURCE_BYTES} bytes")

    def decode(file: BinaryIO) -> None:
        pieces = (given[start : start + _CHARS] for start in range(head.end(), len(given), _CHARS))
        file.writelines(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)

    async def write(file: BinaryIO) -> str | None:
        try:
            await asyncio.to_thread(decode, file)
        except ValueError:
            # Also for what is no ASCII.
            raise invalid(param, "its data URL is not base64") from None
        return head["type"]

    return write


def _fetched(services: Services, url: str, param: str) -> Writer:
    if not services.settings.api.source_urls:
        raise _not_allowed(param, "URLs are not fetched here: send the picture to POST /v1/uploads")
    policy = OutboundPolicy.of(services.settings.outbound)

    async def write(file: BinaryIO) -> str | None:
        try:
            found = await fetch(url, file, policy=policy, max_bytes=MAX_SOURCE_BYTES, timeout_s=_FETCH_S, types=_TYPES)
        except AddressRefused as error:
            raise _not_allowed(param, str(error)) from None
        except AnswerRefused as error:
            raise invalid(param, str(error)) from None
        except Unavailable as error:
            raise EaselError(Code.SOURCE_NOT_FOUND, f"{param}: can't be fetched: {error}", param=param) from None
        return found.media_type

    return write


def _not_allowed(param: str, why: str) -> EaselError:
    return EaselError(Code.SOURCE_NOT_ALLOWED, f"{param}: {why}", param=param, type=ErrorType.PERMISSION)

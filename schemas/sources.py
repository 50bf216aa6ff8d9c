"""The pictures that a tenant gives: where they lie in the store, and which of them a request may name.

A source's key holds the hash of its content, so that equal requests mean equal pictures, also when they are tried again
or answered from an earlier result. A picture that easel has made has such a key from the start.
"""

from __future__ import annotations

import re

from schemas.errors import Code, EaselError, ErrorType
from schemas.outputs import ImageFormat, tenant_prefix

__all__ = [
    "EXTENSIONS",
    "MAX_SOURCE_BYTES",
    "MAX_SOURCE_PIXELS",
    "SOURCES",
    "content_hash",
    "format_of",
    "require_own_source",
    "source_key",
    "source_prefix",
]

SOURCES = "sources/"
"""The prefix of what all tenants have given."""
MAX_SOURCE_BYTES = 32 * 2**20
MAX_SOURCE_PIXELS = 32 * 2**20
"""A file of some kilobytes may say that it is a picture of gigabytes: refused before anything is unpacked."""
EXTENSIONS: dict[ImageFormat, str] = {"png": "png", "jpeg": "jpg", "webp": "webp"}
"""The extension of each format that a source may have."""

_UPLOADED = re.compile(r"[0-9a-f]{64}\.(?:png|jpg|webp)")
_MADE = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9a-f-]{36}/[0-9]{1,2}-[0-9a-f]{16}\.(?:png|jpg|webp)")
_HASH = re.compile(r"([0-9a-f]{64}|[0-9a-f]{16})\.[a-z]+\Z")


def source_prefix(tenant: str) -> str:
    """Whatever a tenant has given lies under this prefix."""
    return f"{SOURCES}{tenant}/"


def source_key(tenant: str, sha256: str, extension: str) -> str:
    """The key of a source with this content."""
    return f"{source_prefix(tenant)}{sha256}.{extension}"


def format_of(data: bytes) -> ImageFormat | None:
    """The format that a file says it has, by its first bytes; None for what can't be a source."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def content_hash(key: str) -> str:
    """What the SHA-256 of a source's content begins with (16 or 64 hex digits). The key is one that was admitted."""
    found = _HASH.search(key)
    return found[1] if found else ""


def require_own_source(tenant: str, key: str, param: str) -> None:
    """Raise unless ``key`` is that of a source, or of a picture, of this tenant.

    Raises ``EaselError``: ``source_not_allowed`` outside the tenant's own prefixes, ``invalid_request`` for a key in
    them that doesn't name its content.
    """
    given, made = source_prefix(tenant), tenant_prefix(tenant)
    if not key.startswith((given, made)):
        raise EaselError(
            Code.SOURCE_NOT_ALLOWED,
            f"{param}: the key is not under {given} or {made}, where the pictures of {tenant!r} lie",
            param=param,
            type=ErrorType.PERMISSION,
        )
    if not (_UPLOADED.fullmatch(key.removeprefix(given)) or _MADE.fullmatch(key.removeprefix(made))):
        raise EaselError(
            Code.INVALID_REQUEST,
            f"{param}: the key does not name its content: say {given}<sha256>.png (or .jpg, .webp), or the key of an"
            " earlier picture",
            param=param,
        )

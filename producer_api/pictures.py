"""The pictures of a task as callers get them: by a link that anyone may open for a while, or whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from producer_api.services import Services
from schemas.outputs import Output
from transport.errors import Unavailable

__all__ = ["expiry", "picture_bytes", "picture_url"]


def picture_url(services: Services, output: Output) -> str:
    """A link to a picture that needs no key, for ``EASEL_API_URL_TTL_S``. Asks nobody whether the picture is there."""
    return services.objects.presign_get(output.key, services.settings.api.url_ttl_s)


def expiry(services: Services) -> datetime:
    """When a link that is made now stops working."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=services.settings.api.url_ttl_s)


async def picture_bytes(services: Services, output: Output) -> bytes:
    """The whole picture, no more of it than the event about it says that it has.

    Raises ``NotFound`` when it is gone, and ``Unavailable`` when the store does not answer or holds something else.
    """
    body = bytearray()
    async for piece in services.objects.stream(output.key):
        body += piece
        if len(body) > output.bytes:
            break
    if len(body) != output.bytes:
        raise Unavailable(f"reading {output.key}: it is not {output.bytes} bytes long", "was it replaced?")
    return bytes(body)

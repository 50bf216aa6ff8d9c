"""The pictures of a task as callers get them: by a link that anyone may open for a while, or whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from producer_api.answers import Task
from producer_api.services import Services
from schemas.outputs import Output, tenant_prefix
from transport.errors import Unavailable

__all__ = ["link_pictures", "picture_bytes", "picture_url"]


def link_pictures(services: Services, tenant: str, task: Task) -> Task:
    """``task``, its pictures with links that work for ``EASEL_API_URL_TTL_S``; no picture that is not its tenant's."""
    if task.outputs is None:
        return task
    # The prefix is what keeps tenants apart in the store: a key outside it is nobody's picture.
    task.outputs = [image for image in task.outputs if image.key.startswith(tenant_prefix(tenant))]
    ttl = timedelta(seconds=services.settings.api.url_ttl_s)
    for image in task.outputs:
        image.expires_at = datetime.now(UTC).replace(microsecond=0) + ttl
        image.url = picture_url(services, image)
    return task


def picture_url(services: Services, output: Output) -> str:
    """A link to a picture that needs no key, for ``EASEL_API_URL_TTL_S``. Asks nobody whether the picture is there."""
    return services.objects.presign_get(output.key, services.settings.api.url_ttl_s)


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

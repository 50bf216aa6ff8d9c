"""What the demo asks for: three tenants, 24 requests, and how each must end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ops.cli.devfiles import DevTenant
from schemas.errors import Code

__all__ = ["BY_HTTP", "BY_PLAIN_CLIENT", "BY_SDK", "MODEL", "REQUESTS", "TENANTS", "Planned", "requests_of"]

MODEL = "easel-tiny"

BY_SDK = "atelier"
BY_PLAIN_CLIENT = "bureau"
BY_HTTP = "canvas"

_BURST = 6
TENANTS = (
    DevTenant(BY_SDK, "Publishes with the SDK, signs with EdDSA", "EdDSA", {"units_per_day": 100}),
    DevTenant(BY_PLAIN_CLIENT, "Publishes with plain aiokafka, signs with ES256", "ES256", {"units_per_day": 100}),
    # A burst, and then one a minute: the request after the burst is one too many, however slow the machine is.
    DevTenant(BY_HTTP, "Comes over HTTP", None, {"requests_per_minute": 1, "burst": _BURST, "units_per_day": 50}),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One request. ``ends``: ``succeeded``, ``duplicate``, or the code of the refusal."""

    tenant: str
    data: dict[str, Any] = field(hash=False)
    ends: str = "succeeded"
    repeats: int | None = None
    """Index, among its tenant's requests, of the one whose id and body it has."""
    forged: bool = False
    """Signed with a key that is not the one whose name it bears."""


def _ask(tenant: str, prompt: str, images: int = 1, **more: Any) -> Planned:
    return Planned(tenant, {"prompt": prompt, "model": MODEL, "images": images, "seed": 11, **more})


def _requests() -> Iterator[Planned]:
    first = _ask(BY_SDK, "a small red circle left of a large blue square on a white background", 2)
    yield first
    yield _ask(BY_SDK, "a large green star on a black background")
    yield _ask(BY_SDK, "a large orange heart on a blue background", 2)
    yield _ask(BY_SDK, "a small pink triangle at the top on a beige background")
    yield _ask(BY_SDK, "a large yellow circle right of a small purple star on a gray background")
    yield _ask(BY_SDK, "a large cyan cross on a pink background", format="webp")
    yield _ask(BY_SDK, "a small blue heart at the bottom on a yellow background")
    yield Planned(BY_SDK, first.data, ends="duplicate", repeats=0)

    yield _ask(BY_PLAIN_CLIENT, "a large purple square on a yellow background")
    yield _ask(BY_PLAIN_CLIENT, "a small green triangle left of a large red heart on a white background", 2)
    yield _ask(BY_PLAIN_CLIENT, "a large red star on a beige background")
    yield _ask(BY_PLAIN_CLIENT, "a small cyan circle on the left on a black background")
    yield _ask(BY_PLAIN_CLIENT, "a large blue cross right of a small orange square on a green background", 2)
    yield _ask(BY_PLAIN_CLIENT, "a large pink heart on a gray background", format="jpeg")
    yield _ask(BY_PLAIN_CLIENT, "a small yellow star on the right on a blue background")
    malformed = {"prompt": "a large red square", "model": MODEL, "steps": "as many as it takes"}
    yield Planned(BY_PLAIN_CLIENT, malformed, ends=Code.INVALID_REQUEST)
    forged = {"prompt": "a large red square on a white background", "model": MODEL}
    yield Planned(BY_PLAIN_CLIENT, forged, ends=Code.SIGNATURE_INVALID, forged=True)

    yield _ask(BY_HTTP, "a large orange triangle on a white background", 2)
    yield _ask(BY_HTTP, "a small purple heart left of a large green circle on a beige background", 2)
    yield _ask(BY_HTTP, "a large blue star on a pink background")
    yield _ask(BY_HTTP, "a small red cross at the top on a gray background")
    yield _ask(BY_HTTP, "a large yellow square on a black background")
    yield _ask(BY_HTTP, "a large cyan star above a small pink circle on a white background", 2)
    too_many = _ask(BY_HTTP, "a large green cross on a yellow background")
    yield Planned(BY_HTTP, too_many.data, ends=Code.RATE_LIMITED)


REQUESTS: tuple[Planned, ...] = tuple(_requests())


def requests_of(tenant: str) -> list[Planned]:
    """The requests of a tenant, in the order in which it sends them."""
    return [planned for planned in REQUESTS if planned.tenant == tenant]

"""Answers from earlier results: the same weights, parameters and seed make the same pictures.

Only within a tenant, and only while the earlier request is remembered and its pictures were not deleted. The revision
of the weights is what the fleet reports at the moment: if nobody reports one, or two report different ones, nothing is
answered from here. A seed that was drawn is another one for each id, so only requests that name theirs are looked up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import TypeAdapter

from consumer.admission.fleet_view import Fleet
from consumer.admission.known_by import KeptResult
from consumer.admission.state import OpenRequest, PartitionState
from schemas.catalog import ModelCard
from schemas.events import Succeeded
from schemas.jobs import JobSucceeded
from schemas.outputs import Output, manifest_key
from schemas.requests import Parameters

__all__ = ["Hit", "answer", "keep", "look_up"]

_DIGEST_BYTES = 16
_OUTPUTS = TypeAdapter(list[Output])
_NO_PIXELS = {"priority", "deadline", "previews"}
"""The parameters that say when a picture is made and what is told of it, not which it is. A source counts by its key,
which holds the hash of its content."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An earlier result that answers a request."""

    request_id: str
    """The request that made it."""
    weights_revision: str
    outputs: list[Output]


def look_up(
    state: PartitionState, tenant: str, card: ModelCard, parameters: Parameters, fleet: Fleet, at_ms: int
) -> Hit | None:
    """The earlier result of a tenant with these parameters, by the weights that its pool has now; None: a miss."""
    revision = _revision(parameters.model, card.pool, fleet, at_ms)
    if revision is None:
        return None
    made = state.made(tenant, _digest(parameters, revision))
    if made is None or made.result is None:
        return None
    return Hit(made.key.request_id, revision, _OUTPUTS.validate_json(made.result.outputs))


def keep(state: PartitionState, request: OpenRequest, event: JobSucceeded) -> KeptResult | None:
    """What is to be remembered of a success, for the requests after it. The first result of its kind is enough."""
    asked = request.parameters
    if not request.seeded or len(event.outputs) != asked.images:
        return None
    if asked.adapters:
        # Files that may change under their names, without the revision of the weights telling so.
        return None
    digest = _digest(asked, event.weights_revision)
    if state.made(request.key.tenant, digest) is not None:
        return None
    return KeptResult(digest, _OUTPUTS.dump_json(event.outputs).decode())


def answer(request: OpenRequest, hit: Hit) -> Succeeded:
    """The end of a request that no worker has seen."""
    tenant = request.key.tenant
    return Succeeded(
        tenant=tenant,
        request_id=request.key.request_id,
        attempt=0,
        model=request.parameters.model,
        weights_revision=hit.weights_revision,
        outputs=hit.outputs,
        manifest=manifest_key(tenant, hit.request_id),
        cached=True,
        cost_milliunits=request.cost,
        refunded_milliunits=0,
        waited_ms=0,
        engine_ms=0,
        metadata=dict(request.metadata),
    )


def _revision(model: str, pool: str, fleet: Fleet, at_ms: int) -> str | None:
    reported = {heard.beat.models[model] for heard in fleet.workers(pool, at_ms) if model in heard.beat.models}
    return reported.pop() if len(reported) == 1 else None


def _digest(parameters: Parameters, revision: str) -> str:
    content = f"{revision}\n{parameters.model_dump_json(exclude=_NO_PIXELS)}"
    return hashlib.blake2b(content.encode(), digest_size=_DIGEST_BYTES).hexdigest()

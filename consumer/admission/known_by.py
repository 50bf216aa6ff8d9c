"""By what else a request is found than by its id: its idempotency key, and what its result was made by."""

from __future__ import annotations

from typing import NamedTuple

from consumer.admission.keys import RequestKey

__all__ = ["KeptResult", "KnownBy"]


class KeptResult(NamedTuple):
    """What later requests can be answered by: made by which weights and parameters, and the outputs as JSON.

    JSON, because there may be very many of them: a third of what the objects take.
    """

    digest: str
    outputs: str


class KnownBy:
    """A name within a tenant → the one request that has it."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], str] = {}

    def get(self, tenant: str, name: str) -> RequestKey | None:
        request_id = self._ids.get((tenant, name))
        return None if request_id is None else RequestKey(tenant, request_id)

    def change(self, key: RequestKey, before: str | None, after: str | None) -> None:
        """The request had the name ``before``, and has ``after`` now."""
        if before is not None and before != after:
            self._ids.pop((key.tenant, before), None)
        if after is not None:
            self._ids[key.tenant, after] = key.request_id

"""What stands beside each decision on the results topic: who asked for what, where that lay, and by which rules.

It is written in the transaction of the decision itself, so there is one for each decision that counts, and none for one
that does not. It is a header of the record, no part of the event: whoever reads results may ignore it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["AUDIT_HEADER", "AuditNote"]

AUDIT_HEADER = "easel_audit"


class AuditNote(BaseModel):
    """The content of the header, as JSON. What was decided, about which request and at which cost, is in the event."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    issuer: str
    kid: str
    caller: str | None = None
    """Who acted behind the issuer: of a request over HTTP, the id of the API key."""
    type: str
    """The ``ce_type`` that was asked for."""
    id: str
    """The ``ce_id`` that it came under: the request's own, or that of a cancel or delete."""
    body_sha256: str
    input: str
    """``requests``, or ``rerouted`` where it stood on a wrong partition at first or was replayed."""
    partition: int
    offset: int
    tenants_version: int
    """The version of tenants.yaml by which it was decided."""

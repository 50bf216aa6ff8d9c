"""Where a tenant's request stands, as far as this process can know."""

from __future__ import annotations

from producer_api.answers import Task, task_of_decision, task_of_row
from producer_api.services import Services

__all__ = ["find_task"]


async def find_task(services: Services, tenant: str, id_: str) -> Task | None:
    """What is known here of a tenant's request."""
    row = await services.tracker.row(tenant, id_)
    if row is not None:
        return task_of_row(id_, row)
    return task_of_decision(id_, None) if services.tracker.is_undecided(tenant, id_) else None

"""Where a tenant's request stands: as the topics of the last day say, or as the store does."""

from __future__ import annotations

import time

from pydantic import ValidationError

from producer_api.answers import Task, task_of_decision, task_of_manifest, task_of_row
from producer_api.errors import ApiError, unavailable
from producer_api.pictures import link_pictures
from producer_api.services import Services
from producer_api.soon import soon
from producer_api.task_file import Row
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.ids import DAY_MS, is_uuid7, time_of
from schemas.outputs import Manifest, manifest_key
from transport.errors import NotFound, Unavailable

__all__ = ["find_task", "require_known", "shown"]


async def find_task(services: Services, tenant: str, id_: str) -> Task | None:
    """What is known of a tenant's request; None when that is nothing.

    Raises ``Unavailable`` when the store has to be asked and does not answer.
    """
    row = await services.tracker.row(tenant, id_)
    if row is not None:
        return shown(services, tenant, id_, row)
    if services.tracker.is_undecided(tenant, id_):
        return task_of_decision(id_, None)
    return await _in_store(services, tenant, id_) if is_uuid7(id_) else None


def shown(services: Services, tenant: str, id_: str, row: Row) -> Task:
    """The answer about a request in the task file, with links to its pictures."""
    return link_pictures(services, tenant, task_of_row(id_, row))


def require_known(services: Services, id_: str, found: Task | None) -> Task:
    """The task that was found.

    Raises ``ApiError``: 404; 410 for an id so old that nobody could tell; 503 while the topics have not been read far
    enough.
    """
    if found is not None:
        return found
    if services.tracker.problem is not None:
        raise unavailable("tasks can't be looked up yet: try again")
    error = ErrorBody(message=f"there is no task {id_!r}", type=ErrorType.NOT_FOUND, param="id", code=Code.NOT_FOUND)
    if not is_uuid7(id_) or time_of(id_) > time.time() * 1000 - DAY_MS:
        raise ApiError(error)
    gone = f"nothing is known any more of a task {id_!r}: only those that made pictures can be found after a day"
    raise ApiError(error.model_copy(update={"message": gone}), status=410)


async def _in_store(services: Services, tenant: str, id_: str) -> Task | None:
    key = manifest_key(tenant, id_)
    try:
        manifest = Manifest.model_validate_json(await soon(services.objects.get(key)))
    except NotFound:
        return None
    except ValidationError as error:
        raise Unavailable(f"reading {key}: it is not a manifest", "was it replaced?") from error
    return link_pictures(services, tenant, task_of_manifest(manifest))

"""Several prompts at once: a request of its own for each, decided by itself, and a group to ask for them all."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from http import HTTPStatus

from producer_api.answers import Group, Links, Task, refused_task
from producer_api.body import GenerateBody
from producer_api.errors import ApiError, unavailable
from producer_api.services import Services
from producer_api.submitting import REQUEST_ID, submit, until_ended
from schemas.ids import new_id, nth_id, require_request_id

__all__ = ["group_of", "submit_batch", "until_all_ended"]

_AT_ONCE = 8
"""Requests of a batch that wait for their decision at a time: one caller's batch must not fill the publisher."""


async def submit_batch(
    services: Services,
    tenant: str,
    body: GenerateBody,
    *,
    request_id: str | None = None,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
) -> Group:
    """A task for each of ``body.prompts``, in their order; one that was refused says so in its place.

    With the same ``request_id`` or ``idempotency_key`` it is the same batch again: what was accepted is found, what
    was refused is tried. Raises ``ApiError`` when all were refused for one reason, and (503) when Kafka went away: then
    some may have been accepted, and it is safe to ask again in the same way.
    """
    base = request_id or new_id()
    require_request_id(base, at_ms=int(time.time() * 1000))
    # Nothing of a group may differ when it is asked for again: its requests would have other bodies.
    derived = None if idempotency_key is None else hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]
    group = body.group or derived or base
    # All of them before the first is published: one that can be no request refuses the batch as a whole.
    asked = [body.to_request(prompt).model_copy(update={"group": group}) for prompt in body.prompts or ()]
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> Task | ApiError:
        async with free:
            try:
                return await submit(
                    services,
                    tenant,
                    asked[number],
                    request_id=nth_id(base, number),
                    idempotency_key=None if derived is None else f"batch-{derived}-{number}",
                    traceparent=traceparent,
                )
            except ApiError as refused:
                return refused

    answers = await asyncio.gather(*(one(number) for number in range(len(asked))))
    refused = [answer for answer in answers if isinstance(answer, ApiError)]
    if any(answer.status == HTTPStatus.SERVICE_UNAVAILABLE for answer in refused):
        again = f"Kafka does not answer: try again with the header {REQUEST_ID}: {base}"
        raise unavailable(again, headers={REQUEST_ID: base})
    if len(refused) == len(answers) and len({answer.error.code for answer in refused}) == 1:
        refused[0].headers[REQUEST_ID] = base
        raise refused[0]
    tasks = [
        refused_task(nth_id(base, number), answer.error) if isinstance(answer, ApiError) else answer
        for number, answer in enumerate(answers)
    ]
    return group_of(group, tasks)


async def until_all_ended(services: Services, tenant: str, group: Group, *, within_s: float) -> Group:
    """The group once all of its tasks have ended, or as it stands when ``within_s`` are over."""

    async def one(task: Task) -> Task:
        return task if task.error else await until_ended(services, tenant, task.id, within_s=within_s)

    return group_of(group.id, await asyncio.gather(*(one(task) for task in group.tasks)))


def group_of(id_: str, tasks: list[Task]) -> Group:
    """The group of these tasks and no others."""
    counts = Counter(task.state for task in tasks)
    return Group(id=id_, counts=dict(counts), tasks=tasks, links=Links(self_=f"/v1/groups/{id_}"))

"""Whether the demo went as it must: what happened in numbers, and what was wrong, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ops.cli.accounts import Accounts
from ops.demo.observer import Observed, Observer
from ops.demo.plan import REQUESTS, TENANTS, requests_of
from schemas.events import Failed, Succeeded

__all__ = ["Numbers", "count", "problems_of_usage", "problems_with_outcomes"]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The demo in numbers; the last line of ``easel demo --json``."""

    requests: int
    accepted: int
    rejected: int
    duplicates: int
    dead_lettered: int
    succeeded: int
    failed: int
    images: int
    usage_balanced: bool
    seconds: float


def count(observer: Observer, *, usage_balanced: bool, seconds: float) -> Numbers:
    """What the topics say, counted."""
    known = observer.everything()
    ends = [end for one in known for end in one.ends]
    succeeded = [end for end in ends if isinstance(end, Succeeded)]
    return Numbers(
        requests=len(REQUESTS),
        accepted=sum(one.accepted is not None for one in known),
        rejected=sum(one.rejected is not None for one in known),
        duplicates=sum(len(one.duplicates) for one in known),
        dead_lettered=sum(one.dead is not None for one in known),
        succeeded=len(succeeded),
        failed=sum(isinstance(end, Failed) for end in ends),
        images=sum(len(end.outputs) for end in succeeded),
        usage_balanced=usage_balanced,
        seconds=round(seconds, 1),
    )


def problems_with_outcomes(observer: Observer) -> Iterator[str]:
    """Requests that did not end as planned, ended twice, or that nobody sent."""
    for tenant in TENANTS:
        for index, planned in enumerate(requests_of(tenant.id)):
            outcome = observer.outcome(planned, index)
            if outcome != planned.ends:
                yield f"request {index + 1} of {tenant.id} ended with {outcome}, not with {planned.ends}"
            known = observer.about(tenant.id, index)
            if planned.ends == "succeeded" and (known.accepted is None or len(known.ends) != 1):
                yield f"request {index + 1} of {tenant.id} has {len(known.ends)} terminal events"
            made = [len(end.outputs) for end in known.ends if isinstance(end, Succeeded)]
            if planned.ends == "succeeded" and made and made != [planned.data["images"]]:
                yield f"request {index + 1} of {tenant.id} has {made} pictures, not {planned.data['images']}"
    # The repeated one shares its id with another.
    ids = len({request for request in _ids(observer) if request})
    if len(observer.everything()) != ids:
        yield f"the topics speak of {len(observer.everything())} requests, {ids} were sent"


def _ids(observer: Observer) -> Iterator[str | None]:
    for tenant in TENANTS:
        for index in range(len(requests_of(tenant.id))):
            yield observer.id_of(tenant.id, index)


def problems_of_usage(observer: Observer, accounts: Accounts) -> Iterator[str]:
    """Where the accounts don't add up, in themselves or with what the results say was held, charged and given back."""
    yield from accounts.problems
    for tenant in TENANTS:
        total = accounts.totals(tenant.id)
        known = [one for one in observer.everything() if _owner(one) == tenant.id]
        said = (
            sum(one.accepted.cost_milliunits for one in known if one.accepted),
            sum(end.cost_milliunits for one in known for end in one.ends),
            sum(end.refunded_milliunits for one in known for end in one.ends),
        )
        if (total.held, total.settled, total.refunded) != said:
            yield (
                f"{tenant.id}: usage says held, settled, refunded {(total.held, total.settled, total.refunded)}, "
                f"the results say {said}"
            )
        if total.outstanding != 0:
            yield f"{tenant.id}: {total.outstanding} milli-units are outstanding though everything has ended"


def _owner(one: Observed) -> str | None:
    return one.accepted.tenant if one.accepted else None

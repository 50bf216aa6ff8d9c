"""What a partition has with the fleet: counted by pool, tenant and worker, so that no decision counts anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

from consumer.admission.keys import RequestKey
from consumer.admission.requests import OpenRequest

__all__ = ["InFlight"]

Name = TypeVar("Name", bound=Hashable)


class InFlight:
    """The requests that were sent and have not ended. Work in milli-units."""

    def __init__(self) -> None:
        self.requests: dict[RequestKey, OpenRequest] = {}
        self.jobs: Counter[str] = Counter()
        """Pool → how many."""
        self.work: Counter[str] = Counter()
        """Pool → their work."""
        self.of_tenant: Counter[str] = Counter()
        self.tenants: Counter[tuple[str, str]] = Counter()
        """Pool and tenant → how many; only those with any."""
        self.sent_to: Counter[str] = Counter()
        """Worker → the work of what was meant for it."""

    def __len__(self) -> int:
        return len(self.requests)

    def add(self, request: OpenRequest) -> None:
        self.requests[request.key] = request
        self._count(request, 1)

    def remove(self, key: RequestKey) -> bool:
        """False when it was not with the fleet."""
        request = self.requests.pop(key, None)
        if request is None:
            return False
        self._count(request, -1)
        return True

    def _count(self, request: OpenRequest, sign: int) -> None:
        self.jobs[request.pool] += sign
        self.work[request.pool] += sign * request.work
        self.of_tenant[request.key.tenant] += sign
        _add(self.tenants, (request.pool, request.key.tenant), sign)
        if request.worker is not None:
            _add(self.sent_to, request.worker, sign * request.work)


def _add(counter: Counter[Name], name: Name, amount: int) -> None:
    counter[name] += amount
    if not counter[name]:
        del counter[name]

"""Shares of a busy fleet, by the real decision, one job after the other: exact and repeatable."""

from __future__ import annotations

from collections import Counter
from typing import Any

from consumer.admission.fairness import AGEING_MS
from schemas.tenants import Tenant
from tests.consumer.admission.world import World, neighbours, request_id, rules, succeeded, tenant
from transport.records import Record

ONE, TWO, THREE = neighbours(3)


class Fleet:
    """A partition whose jobs end in the order in which they were sent."""

    def __init__(self, *tenants: Tenant, window: int = 4) -> None:
        self.world = World(rules(*tenants, window=window, partition=1))
        self.sent: list[tuple[str, str, int]] = []
        self.numbers = 0

    def ask(self, who: str, count: int = 1, **fields: Any) -> list[str]:
        """Requests of a tenant, all at once; their ids."""
        names = []
        for _ in range(count):
            self.numbers += 1
            names.append(request_id(self.numbers, self.world.now_ms))
            self._take(self.world.request(who=who, event_id=names[-1], **fields))
        return names

    def finish(self, count: int) -> None:
        """The oldest ``count`` jobs end, and others take their place."""
        for _ in range(count):
            who, name, images = self.sent[self.done]
            self.done += 1
            self._take(self.world.outcome(succeeded(name, images, who=who)))

    done = 0

    def _take(self, *records: Record) -> None:
        for said in self.world.take(*records):
            if said["kind"] == "job.assigned":
                self.sent.append((said["tenant"], said["request_id"], said["parameters"]["images"]))

    def units(self, since: int = 0) -> Counter[str]:
        """Pictures of each tenant among what was sent."""
        counted: Counter[str] = Counter()
        for who, _, images in self.sent[since:]:
            counted[who] += images
        return counted


def test_equal_tenants_get_equal_units_whatever_their_sizes() -> None:
    fleet = Fleet(tenant(ONE), tenant(TWO), tenant(THREE))
    fleet.ask(ONE, 300, images=1)
    fleet.ask(TWO, 300, images=2)
    fleet.ask(THREE, 300, images=5)
    fleet.finish(250)
    shares = list(fleet.units().values())
    assert sum(shares) ** 2 / (3 * sum(share**2 for share in shares)) >= 0.98


def test_weights_are_kept() -> None:
    fleet = Fleet(tenant(ONE, weight=1), tenant(TWO, weight=2), tenant(THREE, weight=4))
    for who in (ONE, TWO, THREE):
        fleet.ask(who, 500, images=2)
    fleet.finish(420)
    units = fleet.units(since=10)
    total = sum(units.values())
    for who, weight in ((ONE, 1), (TWO, 2), (THREE, 4)):
        assert abs(units[who] / total - weight / 7) < 0.03 * weight / 7


def test_a_price_buys_no_turns() -> None:
    cheap = tenant(ONE).model_copy(update={"price_factor": 0})
    fleet = Fleet(cheap, tenant(TWO))
    fleet.ask(ONE, 100)
    fleet.ask(TWO, 100)
    fleet.finish(80)
    units = fleet.units(since=5)
    assert abs(units[ONE] - units[TWO]) <= 2


def test_a_light_tenant_passes_a_flood() -> None:
    fleet = Fleet(tenant(ONE, queued=10_000), tenant(TWO))
    fleet.ask(ONE, 2_000)
    fleet.finish(100)
    before = len(fleet.sent)
    (mine,) = fleet.ask(TWO)
    fleet.finish(1)
    # The very next place that becomes free is its own.
    assert fleet.sent[before:][0][1] == mine


def test_nobody_saves_up_turns() -> None:
    fleet = Fleet(tenant(ONE), tenant(TWO))
    fleet.ask(ONE, 400)
    fleet.finish(200)
    since = len(fleet.sent)
    fleet.ask(TWO, 400)
    fleet.finish(100)
    units = fleet.units(since)
    assert abs(units[ONE] - units[TWO]) <= 2


def test_most_running_leaves_the_rest_to_others() -> None:
    fleet = Fleet(tenant(ONE, running=1), tenant(TWO))
    fleet.ask(ONE, 5)
    fleet.ask(TWO, 5)
    assert fleet.units() == {ONE: 1, TWO: 3}
    fleet.finish(1)
    assert fleet.world.state.in_flight.of_tenant[ONE] == 1


def test_priority_comes_before_age_and_age_catches_up() -> None:
    fleet = Fleet(tenant(ONE), window=1)
    (running,) = fleet.ask(ONE)
    (low,) = fleet.ask(ONE, priority="low")
    (normal,) = fleet.ask(ONE)
    (high,) = fleet.ask(ONE, priority="high")
    # What comes so much later does not pass the low one any more, however urgent it is.
    fleet.world.now_ms += 2 * AGEING_MS
    (late,) = fleet.ask(ONE, priority="high")
    fleet.finish(4)
    assert [name for _, name, _ in fleet.sent] == [running, high, normal, low, late]

"""What becomes of a suspended tenant's open requests."""

from __future__ import annotations

import pytest

from consumer.admission import suspension
from consumer.admission.state import OpenRequest
from schemas.tenants import Tenant
from tests.consumer.admission.world import World, canceled, kinds, neighbours, request_id, rules, succeeded, tenant

ONE, OTHER = neighbours(2)


def suspended(when: str) -> Tenant:
    return tenant(ONE, status="suspended").model_copy(update={"when_suspended": when})


@pytest.fixture
def world() -> World:
    world = World(rules(tenant(ONE), tenant(OTHER), window=2))
    world.take(*(world.request(number, who=ONE) for number in (1, 2, 3, 4)))
    world.take(world.request(5, who=OTHER))
    return world


def test_kept_requests_have_their_turn(world: World) -> None:
    world.rules = rules(suspended("keep"), tenant(OTHER), window=2, version=2)
    assert world.take() == []
    said = world.take(world.outcome(succeeded(request_id(1), who=ONE)))
    assert "job.assigned" in kinds(said)
    (refused,) = world.take(world.request(9, who=ONE))
    assert refused["error"]["code"] == "tenant_suspended"


def test_canceled_ones_end_and_what_runs_gets_a_note(world: World) -> None:
    world.rules = rules(suspended("cancel"), tenant(OTHER), window=2, version=2)
    said = world.take()
    assert [(m["kind"], m["request_id"]) for m in said] == [
        ("control", request_id(1)),
        ("control", request_id(2)),
        ("generation.canceled", request_id(3)),
        ("usage.refunded", request_id(3)),
        ("generation.canceled", request_id(4)),
        ("usage.refunded", request_id(4)),
    ]
    assert [m["canceled"] for m in said[:2]] == [True, True]
    assert world.take() == []
    for number in (1, 2):
        ended = world.take(world.outcome(canceled(request_id(number), who=ONE)))
        assert ended[0]["kind"] == "generation.canceled"
    assert sum(month.outstanding for month in world.state.account(ONE).months.values()) == 0
    # The other's request was not touched, and has its turn.
    assert [one.key.tenant for one in world.state.requests.values() if isinstance(one, OpenRequest)] == [OTHER]


def test_some_are_stopped_in_each_batch_and_none_leaves_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspension, "_AT_ONCE", 1)
    world.take(world.cancel(9, request_id(5), who=OTHER))
    world.rules = rules(suspended("cancel"), tenant(OTHER), window=2, version=2)
    # There is room, and only this tenant's wait: nothing leaves.
    assert "job.assigned" not in kinds(world.take(world.outcome(succeeded(request_id(1), who=ONE))))
    ends = [m["kind"] for _ in range(5) for m in world.take()]
    assert (ends.count("generation.canceled"), ends.count("control")) in ((2, 0), (2, 1))
    assert world.take() == []
    assert [(one.key.request_id, one.cancel_requested) for one in world.state.open_of(ONE)] == [(request_id(2), True)]

"""Each refusal, with its code: what is wrong, which limit, and when to come back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.consumer.admission.world import (
    NOON_MS,
    World,
    request_id,
    rules,
    tenant,
)

ONE = request_id(1)
OWN = f"sources/acme/{'0' * 64}.png"


@pytest.fixture
def world() -> World:
    return World(rules(tenant()))


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOON_MS / 1000 + seconds, tz=UTC).isoformat()


def test_a_deadline_that_has_passed_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, deadline=at(0)))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "deadline_exceeded")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": "none"}, "model_not_found", "model"),
        ({"width": 65}, "limit_exceeded", "width"),
        ({"steps": 51}, "limit_exceeded", "steps"),
        ({"images": 11}, "invalid_request", "images"),
        ({"prompt": "  "}, "invalid_request", "prompt"),
        ({"colour": "red"}, "invalid_request", "colour"),
        ({"style": "oil"}, "limit_exceeded", "style"),
        ({"model": "other", "source_image": OWN}, "limit_exceeded", "source_image"),
        ({"source_image": OWN.replace("acme", "globex")}, "source_not_allowed", "source_image"),
        ({"source_image": OWN, "mask_image": "outputs/globex/x.png"}, "source_not_allowed", "mask_image"),
        ({"source_image": "sources/acme/../globex/x.png"}, "invalid_request", "source_image"),
        ({"source_image": "sources/acme/cat.png"}, "invalid_request", "source_image"),
        ({"strength": 0.5}, "invalid_request", "strength"),
    ],
)
def test_what_can_not_be_made_is_rejected_by_name(world: World, fields: dict[str, Any], code: str, param: str) -> None:
    (said,) = world.take(world.request(1, **fields))
    assert (said["kind"], said["error"]["code"], said["error"]["param"]) == ("generation.rejected", code, param)
    assert world.state.requests == {}


def test_a_source_of_ones_own_is_taken_and_paid_for_by_the_steps_that_run(world: World) -> None:
    accepted = world.take(world.request(1, source_image=OWN, strength=0.5))[0]
    assert (accepted["kind"], accepted["cost_milliunits"]) == ("generation.accepted", 500)
    assert world.take(world.request(2))[0]["cost_milliunits"] == 1_000


def test_a_body_that_is_no_json_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, body=b"{"))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "invalid_request")


def test_an_id_that_is_out_of_time_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, event_id=request_id(1, NOON_MS - 2 * 86_400_000)))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", "id_out_of_time")


def test_another_type_is_rejected(world: World) -> None:
    (said,) = world.take(world.request(1, kind="easel.generation.wished.v1"))
    assert (said["kind"], said["error"]["code"], said["error"]["param"]) == (
        "generation.rejected",
        "unsupported_type",
        "ce_type",
    )


@pytest.mark.parametrize(
    ("who", "fields", "code"),
    [
        (tenant(status="suspended"), {}, "tenant_suspended"),
        (tenant(models=["other"]), {}, "model_not_allowed"),
        (
            tenant().model_copy(update={"priorities": ["low", "normal"]}),
            {"priority": "high"},
            "priority_not_allowed",
        ),
        (tenant(images=2), {"images": 3}, "limit_exceeded"),
        (tenant(pixels=512 * 512), {"width": 576}, "limit_exceeded"),
        (tenant(steps=3), {}, "limit_exceeded"),
    ],
)
def test_what_the_tenant_may_not_is_rejected(who: Any, fields: dict[str, Any], code: str) -> None:
    (said,) = World(rules(who)).take(World(rules(who)).request(1, **fields))
    assert (said["kind"], said["error"]["code"]) == ("generation.rejected", code)


def test_over_the_rate(world: World) -> None:
    world = World(rules(tenant(requests_per_minute=60, burst=1)))
    said = world.take(world.request(1), world.request(2))
    assert said[-1]["error"]["code"] == "rate_limited"
    assert (said[-1]["retry_after_s"], said[-1]["limit"]) == (
        1.0,
        {"name": "requests_per_minute", "limit": 60, "remaining": 0},
    )


def test_over_the_budget_takes_a_token_and_holds_nothing() -> None:
    world = World(rules(tenant(requests_per_minute=60, burst=2, units_per_day=Decimal("1.5"))))
    said = world.take(world.request(1), world.request(2), world.request(3))
    assert [m["error"]["code"] for m in said if m["kind"] == "generation.rejected"] == [
        "budget_day_exceeded",
        "rate_limited",
    ]
    assert world.state.account("acme").days["2026-11-21"].held == 1000


def test_a_full_queue() -> None:
    world = World(rules(tenant(queued=2), window=1))
    said = world.take(*(world.request(number) for number in range(1, 5)))
    # The first leaves at once; two wait; there is no room for the fourth.
    assert [m["kind"] for m in said if m["sent_to"] == "results"] == [
        *["generation.accepted"] * 3,
        "generation.rejected",
    ]
    assert said[-1]["error"]["code"] == "queue_full"
    assert said[-1]["limit"] == {"name": "queued", "limit": 2, "remaining": 0}

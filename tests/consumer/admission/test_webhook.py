"""A request's own webhook: allowed by its tenant's entry, kept in the ledger, and told with each of its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.webhook_entries import RequestWebhooks, Secret
from tests.consumer.admission.world import World, request_id, rules, succeeded, tenant

ONE = request_id(1)
ALLOWED = RequestWebhooks(hosts=("hooks.acme.example", "*.cms.example"), secrets=(Secret(secret_env="X"),))
URL = "https://hooks.acme.example/easel?post=7"


def world_of(allowed: RequestWebhooks | None = ALLOWED) -> World:
    return World(rules(tenant().model_copy(update={"request_webhooks": allowed})))


def told(world: World) -> dict[tuple[str, str], str | None]:
    """Topic and type of all that was said → the webhook that it carries."""
    found: dict[tuple[str, str], str | None] = {}
    for out in world.said:
        headers = {name: (value or b"").decode() for name, value in out.headers}
        found[out.topic.split(".")[1], headers["ce_type"].split(".")[2]] = headers.get("ce_webhook")
    return found


@pytest.mark.parametrize("restarted", [False, True])
def test_its_events_carry_it_from_the_first_to_the_last(restarted: bool) -> None:
    world = world_of()
    world.take(world.request(1, webhook={"url": URL, "events": ["accepted", "succeeded"]}))
    if restarted:
        world.restart()
    world.take(world.outcome(succeeded(ONE)))
    carried = {place: text for place, text in told(world).items() if text is not None}
    assert set(carried) == {("results", "accepted"), ("results", "succeeded")}
    assert all(json.loads(text) == {"url": URL, "events": ["accepted", "succeeded"]} for text in carried.values())


def test_an_event_of_another_request_carries_none() -> None:
    world = world_of()
    world.take(world.request(1))
    assert set(told(world).values()) == {None}


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.acme.example/x", True),
        ("https://HOOKS.acme.example/x", True),
        ("https://a.b.cms.example:8443", True),
        ("https://cms.example/x", False),
        ("https://evilcms.example/x", False),
        ("https://hooks.acme.example.evil.example/x", False),
        ("https://169.254.169.254/x", False),
    ],
)
def test_a_tenants_requests_name_hosts_that_its_entry_allows(url: str, allowed: bool) -> None:
    world = world_of()
    said = world.take(world.request(1, webhook={"url": url}))
    assert (said[0]["kind"] == "generation.accepted") == allowed
    if not allowed:
        assert (said[0]["error"]["code"], said[0]["error"]["param"]) == ("webhook_not_allowed", "webhook.url")


def test_without_an_entry_none_is_allowed() -> None:
    world = world_of(None)
    (said,) = world.take(world.request(1, webhook={"url": URL}))
    assert said["error"]["code"] == "webhook_not_allowed"
    assert world.state.requests == {}


@pytest.mark.parametrize(
    "webhook",
    [
        {"url": "ftp://hooks.acme.example/"},
        {"url": "https://user:pw@hooks.acme.example/"},
        {"url": "https://hooks.acme.example\\@evil.example/"},
        {"url": "https://hooks.acme.example/\r\nX: y"},
        {"url": "https://hooks.acme.example/ü"},
        {"url": "https://[::1]/"},
        {"url": URL, "events": []},
        {"url": URL, "events": ["ended"]},
        {"url": URL, "secret": "x"},
        {"url": "https://hooks.acme.example/" + "x" * 2_048},
    ],
)
def test_what_is_no_webhook_is_refused_by_its_field(webhook: dict[str, Any]) -> None:
    world = world_of()
    (said,) = world.take(world.request(1, webhook=webhook))
    assert (said["error"]["code"], said["error"]["param"].split(".")[0]) == ("invalid_request", "webhook")

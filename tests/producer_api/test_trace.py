"""One request over HTTP, the whole way to its webhook: its trace goes with it over every hop."""

from __future__ import annotations

import json
from collections import defaultdict

import httpx
import pytest

from schemas.webhook_entries import make_secret
from tests.consumer.webhooks.receiver import Receiver, verified
from tests.house import House
from tests.until import until

pytestmark = [pytest.mark.system]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def allow_webhooks(house: House, secret: str) -> None:
    """Acme's requests may name this machine, before anything has read the file a second time."""
    (house.folder / "hook.secret").write_text(secret)
    file = json.loads(house.settings.tenants.read_text())
    file["tenants"][0]["request_webhooks"] = {"hosts": ["127.0.0.1"], "secrets": [{"secret_file": "hook.secret"}]}
    file["version"] += 1
    house.settings.tenants.write_text(json.dumps(file))


async def test_a_request_is_followed_by_its_trace_to_its_webhook(house: House, http: httpx.AsyncClient) -> None:
    secret = make_secret()
    allow_webhooks(house, secret)
    await house.until_log(house.stages[0], "applied")
    worker, webhooks = house.worker(), house.webhooks()
    await worker.ready()
    await webhooks.ready()
    with Receiver() as receiver:
        hook = {"url": receiver.url("/7"), "events": ["accepted", "succeeded"]}
        answer = await http.post(
            "/v1/generate",
            json={"prompt": "a red circle", "model": "nothing", "webhook": hook},
            headers={"X-API-Key": "acme", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
        assert answer.status_code == 202, answer.text
        await until(lambda: len(receiver.got) == 2, within_s=60)
    posted = {json.loads(delivery.body)["type"].split(".")[2]: delivery for delivery in receiver.got}
    assert set(posted) == {"accepted", "succeeded"}
    assert all(verified(delivery, secret) for delivery in posted.values())
    assert json.loads(posted["succeeded"].body)["data"]["request_id"] == answer.json()["id"]
    assert {delivery.headers["traceparent"].split("-")[1] for delivery in posted.values()} == {TRACE}

    topics = house.topics
    found: dict[str, set[str | None]] = defaultdict(set)
    for topic in (topics.requests, topics.jobs("default"), topics.outcomes, topics.results, topics.usage):
        for record in await house.read(topic):
            headers = dict(record.headers)
            value = headers.get("traceparent")
            kind = (headers["ce_type"] or b"").decode().removeprefix("easel.").removesuffix(".v1")
            found[kind].add(value.decode().split("-")[1] if value else None)
    hops = ("generation.requested", "generation.accepted", "usage.held", "job.assigned", "job.started")
    ends = ("job.succeeded", "generation.succeeded", "usage.settled")
    assert found == {kind: {TRACE} for kind in (*hops, *ends)}

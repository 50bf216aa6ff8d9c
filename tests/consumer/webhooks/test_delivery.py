"""Deliveries on the real broker, to a real server that verifies by the official package."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from consumer.webhooks.schedule import Schedule
from ops.dead_letters.letters import Letter
from ops.dead_letters.replay import Replayer, Rules
from schemas.connection import KafkaSettings
from schemas.events import Accepted
from schemas.settings import OutboundSettings
from schemas.tenants import load_tenants
from tests.consumer.webhooks.receiver import Delivery, Receiver, verified
from tests.consumer.webhooks.world import World, own, tenant
from tests.until import until


async def test_each_event_is_posted_once_signed_and_whole(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver() as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url())), "bolt": {}})
        async with world.serving():
            ids = await world.publish("acme", 30)
            await world.publish("bolt", 3)
            await world.publish("acme", 2, kind=Accepted)
            await until(lambda: len(receiver.got) >= 30)
            await asyncio.sleep(0.3)
    assert sorted(receiver.ids()) == sorted(ids)
    one = receiver.got[0]
    assert all(verified(delivery, world.secret("cms.secret")) for delivery in receiver.got)
    assert not verified(one, world.secret("another"))
    told = json.loads(one.body)
    assert told["type"] == "easel.generation.canceled.v1"
    assert told["timestamp"] == "2026-11-21T12:00:00.000+00:00"
    assert told["data"]["tenant"] == "acme" and told["data"]["metadata"] == {"post": "日本"}
    assert one.headers["traceparent"].split("-")[1] == told["data"]["request_id"].replace("-", "")
    # What was delivered is owed by nobody: the next instance posts nothing.
    with Receiver(port=receiver.port) as later:
        async with world.serving():
            await asyncio.sleep(0.3)
    assert later.got == []


async def test_a_failure_is_tried_again_under_the_same_id_and_body(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    seen: Counter[str] = Counter()

    def twice_not(delivery: Delivery) -> int:
        seen[delivery.id] += 1
        return 503 if seen[delivery.id] <= 2 else 200

    with Receiver(twice_not) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving():
            [id_] = await world.publish("acme")
            await until(lambda: len(receiver.got) == 3)
            await asyncio.sleep(0.5)
    assert receiver.ids() == [id_] * 3
    assert len({delivery.body for delivery in receiver.got}) == 1


async def test_a_receiver_says_when_to_come_back(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver(lambda _: (429, {"Retry-After": "2"}) if len(receiver.got) == 0 else 200) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving():
            await world.publish("acme")
            await until(lambda: len(receiver.got) == 2)
    first, second = receiver.got
    assert second.at - first.at >= 1.9


@pytest.mark.parametrize(
    "asked", ["soon", "Mon, 01 Jan 2024 00:00:00 +9999999999999", "Mon, 99999999999 Jan 2024 00:00:00"]
)
async def test_a_receiver_that_asks_for_no_time_at_all_is_tried_as_others(
    kafka: KafkaSettings, tmp_path: Path, asked: str
) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver(lambda _: (503, {"Retry-After": asked}) if len(receiver.got) < 2 else 200) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving():
            await world.publish("acme")
            await until(lambda: len(receiver.got) == 3)


async def test_a_secret_is_exchanged_without_a_lost_delivery(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver() as receiver:

        async def delivered(*secrets: str) -> Delivery:
            before = len(receiver.got)
            world.write({"acme": tenant(world.endpoint("cms", receiver.url(), *secrets))})
            await until(lambda: stage._files.endpoints.version == world.version)
            await world.publish("acme")
            await until(lambda: len(receiver.got) > before)
            return receiver.got[-1]

        world.write({"acme": tenant(world.endpoint("cms", receiver.url(), "old"))})
        async with world.serving() as stage:
            old, both, new = await delivered("old"), await delivered("old", "new"), await delivered("new")
    takes = [[verified(one, world.secret(name)) for name in ("old", "new")] for one in (old, both, new)]
    assert takes == [[True, False], [True, True], [False, True]]
    assert both.headers["webhook-signature"].count("v1,") == 2


async def test_a_dead_endpoint_ends_in_the_dead_letters(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver(lambda _: 500) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving(Schedule(1.0, (0.3,))):
            [id_] = await world.publish("acme")
            [letter] = await world.letters(1)
            attempts = len(receiver.got)
            await asyncio.sleep(0.6)
            assert len(receiver.got) == attempts >= 3
    cause = letter.content.cause
    assert (letter.content.stage, cause.code, cause.param) == ("webhooks", "webhook_undeliverable", "cms")
    assert f"after {attempts} attempts: its last attempt came to: the status 500" in cause.message
    assert letter.tenant == "acme"
    assert letter.content.topic == world.topics.results
    headers = dict(letter.content.headers)
    assert {"ce_id", "ce_type", "easel_endpoint"} <= set(headers)
    assert receiver.ids() == [id_] * attempts


async def test_a_dead_letter_is_replayed(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    well = False
    with Receiver(lambda _: 200 if well else 500) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving(Schedule(0.1, (0.2,))):
            [id_] = await world.publish("acme")
            [letter] = await world.letters(1)
            rules = Rules(world.settings.kafka, "easel", load_tenants(world.settings.tenants))

            async def letters() -> AsyncIterator[Letter]:
                yield letter

            well = True
            async with Replayer(rules, {}, again=False, dry_run=False, remembered_ms=0) as replayer:
                [verdict] = [verdict async for verdict in replayer.run(letters())]
            assert verdict.error is None and verdict.replay is not None
            await until(lambda: len(receiver.got) == 2)
    assert receiver.ids() == [id_, id_]
    assert receiver.got[0].body == receiver.got[1].body
    assert verified(receiver.got[1], world.secret("cms.secret"))


async def test_gone_disables_the_endpoint_until_the_file_changes(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    gone = True
    with Receiver(lambda _: 410 if gone else 200) as receiver:
        entry = {"acme": tenant(world.endpoint("cms", receiver.url()))}
        world.write(entry)
        async with world.serving():
            await world.publish("acme")
            [letter] = await world.letters(1)
            assert letter.content.cause.code == "webhook_gone"
            await world.publish("acme", 3)
            await asyncio.sleep(0.5)
        # A restart does not forget it.
        async with world.serving() as stage:
            await world.publish("acme")
            await asyncio.sleep(0.5)
            assert len(receiver.got) == 1
            gone = False
            world.write(entry)
            await until(lambda: stage._files.endpoints.version == world.version)
            [id_] = await world.publish("acme")
            await until(lambda: len(receiver.got) == 2)
    assert receiver.got[-1].id == id_
    assert len(await world.letters(1)) == 1


async def test_a_slow_endpoint_holds_up_no_other(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path, concurrency=8, per_endpoint=4)

    def slow(delivery: Delivery) -> int:
        if delivery.path == "/slow":
            time.sleep(1.5)
        return 200

    with Receiver(slow) as receiver:
        world.write(
            {
                "acme": tenant(
                    world.endpoint("slow", receiver.url("/slow")), world.endpoint("good", receiver.url("/good"))
                )
            }
        )
        async with world.serving():
            began = time.monotonic()
            ids = await world.publish("acme", 40)
            await until(lambda: len(receiver.ids("/good")) == 40)
            took = time.monotonic() - began
            assert len(receiver.ids("/slow")) <= 8
    # One after the other with the slow one's, it would be 15 s.
    assert took < 5.0
    assert sorted(receiver.ids("/good")) == sorted(ids)


@pytest.mark.parametrize(
    ("outbound", "said"),
    [
        (OutboundSettings(ports="any", plain_http=True), "not on the public internet"),
        (OutboundSettings(ports="any", allow="127.0.0.0/8"), "its scheme is 'http'"),
        (OutboundSettings(plain_http=True, allow="127.0.0.0/8"), "is not allowed"),
    ],
)
async def test_nothing_is_posted_to_an_address_that_is_not_allowed(
    kafka: KafkaSettings, tmp_path: Path, outbound: OutboundSettings, said: str
) -> None:
    world = await World.make(kafka, tmp_path, outbound=outbound)
    with Receiver() as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving(Schedule(0.1, (0.2,))):
            await world.publish("acme")
            [letter] = await world.letters(1)
    assert receiver.got == []
    assert said in letter.content.cause.message


async def test_redirects_are_not_followed(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    with Receiver(lambda _: (307, {"Location": receiver.url("/elsewhere")})) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving(Schedule(0.1, (0.2,))):
            await world.publish("acme")
            [letter] = await world.letters(1)
    assert receiver.ids("/elsewhere") == []
    assert "the status 307" in letter.content.cause.message


async def test_a_request_names_a_url_of_its_own(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path)
    world.secret("own")
    allowed = {"hosts": ["127.0.0.1"], "secrets": [{"secret_file": "own"}]}
    with Receiver() as receiver:
        world.write({"acme": {"request_webhooks": allowed}, "bolt": {}})
        async with world.serving():
            [id_] = await world.publish("acme", webhook=own(receiver.url("/mine")))
            await world.publish("acme", webhook=own(receiver.url("/mine"), ["succeeded"]))
            await world.publish("bolt", webhook=own(receiver.url("/mine")))
            await world.publish("acme", webhook="nonsense")
            await until(lambda: receiver.got)
            await asyncio.sleep(0.3)
    assert receiver.ids("/mine") == [id_]
    assert verified(receiver.got[0], world.secret("own"))


async def test_more_than_may_wait_goes_to_the_dead_letters_at_once(kafka: KafkaSettings, tmp_path: Path) -> None:
    world = await World.make(kafka, tmp_path, owed=5, per_endpoint=1)
    with Receiver(lambda _: 500) as receiver:
        world.write({"acme": tenant(world.endpoint("cms", receiver.url()))})
        async with world.serving(Schedule(3600.0, (60.0,))):
            await world.publish("acme", 12)
            letters = await world.letters(6)
    assert len(letters) in (6, 7)
    assert all("5 events were waiting for it already" in letter.content.cause.message for letter in letters)

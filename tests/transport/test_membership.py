"""Who owns what: sharing out, coming, going and coming back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from schemas.connection import KafkaSettings
from tests.stack import make_topic
from tests.transport.members import SESSION_S, Member, member, until
from tests.transport.wire import ApiKey, broker_behind_wire, join_group_error
from transport.records import TopicPartition
from transport.teardown import end_consumer


async def test_two_members_have_the_same_numbers_of_each_topic_under_range(kafka: KafkaSettings) -> None:
    topics = [await make_topic(kafka, partitions=4) for _ in range(3)]
    async with member(kafka, topics) as first:
        second = Member(kafka, topics)
        async with second:
            await asyncio.gather(first.joined(6), second.joined(6))
            for one in (first, second):
                numbers = {tp.partition for tp in one.assignment()}
                assert one.assignment() == {TopicPartition(topic, n) for topic in topics for n in numbers}


async def test_sticky_members_keep_what_they_can(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=8)
    async with member(kafka, [topic], assignor="sticky") as first:
        second = Member(kafka, [topic], assignor="sticky")
        async with second:
            await asyncio.gather(first.joined(4), second.joined(4))
            had = first.assignment()
            # What it claims next time is as old as this generation, and no older or younger.
            assert first._assignor.generation == first._consumer._coordinator.generation > 1
            third = Member(kafka, [topic], assignor="sticky")
            async with third:
                await until(lambda: len(third.assigned) == 1 and len(first.assigned) == 3)
                assert first.assignment() < had or first.assignment() == had
                held = first.assignment()
            await until(lambda: len(first.assigned) == 4)
            assert held <= first.assignment()


async def test_a_static_member_that_stops_leaves_at_once(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=4)
    async with member(kafka, [topic], instance_id="one") as first:
        second = Member(kafka, [topic], instance_id="two")
        async with second:
            await asyncio.gather(first.joined(2), second.joined(2))
            await first.stop()
            # A heartbeat of the other tells it, every half second.
            assert await second.joined(4) < SESSION_S / 2


async def test_a_static_member_that_returns_finds_its_partitions_without_a_rebalance(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=4)
    async with member(kafka, [topic], instance_id="one") as first:
        second = Member(kafka, [topic], instance_id="two")
        async with second:
            await asyncio.gather(first.joined(2), second.joined(2))
            had = first.assignment()
            await first.stop(leave=False)
            async with member(kafka, [topic], instance_id="one") as again:
                assert again.assignment() == had
                await asyncio.sleep(SESSION_S / 2)
                assert second.revoked == []


async def test_those_who_stay_hear_of_a_leaver_at_once_however_long_the_session(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=2)
    # A quarter of it, as is usual between heartbeats, would be 15 s.
    async with member(kafka, [topic], session_timeout_s=60.0) as first:
        second = Member(kafka, [topic], session_timeout_s=60.0)
        async with second:
            await asyncio.gather(first.joined(1, within_s=5.0), second.joined(1, within_s=5.0))
        assert await first.joined(2, within_s=5.0) < 3.0


async def test_a_member_that_stops_amid_a_rebalance_leaves_at_once(kafka: KafkaSettings) -> None:
    topic = await make_topic(kafka, partitions=4)
    async with member(kafka, [topic]) as first:
        silent, third = Member(kafka, [topic]), Member(kafka, [topic])
        async with silent:
            await asyncio.gather(first.joined(2), silent.joined(2))
            await end_consumer(silent._consumer)
            async with third:
                await until(lambda: not first.assignment())
                # The group now waits for the silent member, and holds back the answer to the first one's join.
                await asyncio.sleep(0.3)
                start = time.monotonic()
                await first.stop()
                assert time.monotonic() - start < 1.5
                # Had it not left, it would be waited for as well, for another session.
                assert await third.joined(4) < SESSION_S + 2.0


async def test_a_rebalance_longer_than_the_poll_interval_is_survived(tmp_path: Path) -> None:
    loading = 14
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        topic = await make_topic(kafka, partitions=2)
        refused: dict[int, Callable[[bytes], bytes]] = {ApiKey.JOIN_GROUP: join_group_error(loading)}
        async with member(kafka, [topic], max_poll_interval_s=1.0) as first:
            # From the moment that it wants to join again, nobody is let in.
            first._on_revoked = lambda _: wire.replace_response.update(refused)
            async with Member(kafka, [topic]) as second:
                while not wire.replace_response:
                    await first.poll(0.1)
                ends = time.monotonic() + 3.0
                while time.monotonic() < ends:
                    assert await first.poll(0.2) == []
                assert first.assignment() == frozenset()
                wire.replace_response.clear()
                await asyncio.gather(first.joined(1), second.joined(1))

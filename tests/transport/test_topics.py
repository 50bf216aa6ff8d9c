"""Topics are made as specified, and what differs is said with its remedy."""

from __future__ import annotations

import dataclasses

import pytest

from schemas.connection import KafkaSettings
from schemas.topics import Topics, TopicSpec
from transport.errors import Misconfigured, Unavailable
from transport.topics import check_topics, cluster_id, ensure_topics


def _specs(kafka: KafkaSettings) -> list[TopicSpec]:
    return Topics(kafka.prefix).specs(
        partitions=kafka.partitions,
        jobs_partitions=kafka.jobs_partitions,
        replication=kafka.replication,
        pools=["default"],
        own_topics=["acme"],
    )


async def test_missing_topics_are_created_as_specified_and_existing_ones_kept(kafka: KafkaSettings) -> None:
    specs = _specs(kafka)
    missing = await check_topics(kafka, specs)
    assert sorted(missing) == sorted(f"{s.name} is missing: create it with `easel topics`" for s in specs)

    first = await ensure_topics(kafka, specs[:3])
    assert first.created == tuple(s.name for s in specs[:3])
    assert first.kept == ()

    rest = await ensure_topics(kafka, specs)
    assert rest.created == tuple(s.name for s in specs[3:])
    assert rest.kept == tuple(s.name for s in specs[:3])
    assert rest.problems == ()
    assert await check_topics(kafka, specs) == []


async def test_a_wrong_count_and_each_wrong_setting_are_named(kafka: KafkaSettings) -> None:
    spec = TopicSpec(f"{kafka.prefix}.a", 4, {"cleanup.policy": "compact,delete", "min.cleanable.dirty.ratio": "0.1"})
    await ensure_topics(kafka, [spec])

    same = dataclasses.replace(spec, config={"cleanup.policy": "delete,compact", "min.cleanable.dirty.ratio": "0.10"})
    assert await check_topics(kafka, [same]) == []

    other = TopicSpec(spec.name, 5, {**spec.config, "retention.ms": "600000", "min.cleanable.dirty.ratio": "0.5"})
    problems = await check_topics(kafka, [other])
    assert len(problems) == 3
    assert "has 4 partitions, not 5" in problems[0]
    assert "min.cleanable.dirty.ratio=0.1, not 0.5" in problems[1]
    assert "retention.ms=604800000, not 600000" in problems[2]
    report = await ensure_topics(kafka, [other])
    assert report.problems == tuple(problems)


async def test_too_few_replicas_are_a_problem_and_an_impossible_replication_is_refused(kafka: KafkaSettings) -> None:
    three = kafka.model_copy(update={"replication": 3})
    spec = TopicSpec(f"{kafka.prefix}.a", 1, {})
    with pytest.raises(Misconfigured, match=r"refuses to create .*\.a: InvalidReplicationFactorError"):
        await ensure_topics(three, [spec])
    await ensure_topics(kafka, [spec])
    assert ["has 1 replicas, not 3" in problem for problem in await check_topics(three, [spec])] == [True]


async def test_the_cluster_id_is_the_same_for_all(kafka: KafkaSettings) -> None:
    first = await cluster_id(kafka)
    assert len(first) == 22
    assert await cluster_id(kafka) == first


async def test_no_broker_is_unavailable_within_the_limit() -> None:
    nobody = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await cluster_id(nobody, timeout_s=2.0)

"""The topics as the broker must have them."""

from __future__ import annotations

import re

import pytest

from schemas.topics import ADMISSION_INPUTS, Topics, TopicSpec

DAY_MS = 86_400_000


def specs(prefix: str = "easel", replication: int = 1) -> dict[str, TopicSpec]:
    made = Topics(prefix).specs(
        partitions=12,
        jobs_partitions=48,
        replication=replication,
        pools=["default", "large", "default"],
        own_topics=["acme"],
    )
    assert len({spec.name for spec in made}) == len(made)
    return {spec.name.removeprefix(f"{prefix}."): spec for spec in made}


@pytest.mark.parametrize(
    ("name", "partitions", "cleanup", "retention_ms"),
    [
        ("requests", 12, "delete", 7 * DAY_MS),
        ("rerouted", 12, "delete", 7 * DAY_MS),
        ("outcomes", 12, "delete", 7 * DAY_MS),
        ("ledger", 12, "compact", None),
        ("jobs.default", 48, "delete", 3 * DAY_MS),
        ("jobs.large", 48, "delete", 3 * DAY_MS),
        ("results", 12, "delete", 7 * DAY_MS),
        ("webhooks", 12, "compact", None),
        ("redeliveries", 12, "delete", 7 * DAY_MS),
        ("results.acme", 1, "delete", 7 * DAY_MS),
        ("usage", 12, "delete", 400 * DAY_MS),
        ("progress", 12, "delete", 600_000),
        ("control", 12, "compact,delete", 3 * DAY_MS),
        ("fleet", 1, "compact,delete", 3_600_000),
        ("dead-letters", 12, "delete", 30 * DAY_MS),
    ],
)
def test_each_topic(name: str, partitions: int, cleanup: str, retention_ms: int | None) -> None:
    spec = specs()[name]
    assert (spec.partitions, spec.config["cleanup.policy"]) == (partitions, cleanup)
    assert spec.config.get("retention.ms") == (None if retention_ms is None else str(retention_ms))


def test_there_are_no_others() -> None:
    assert len(specs()) == 15


def test_all_share_the_brokers_clock() -> None:
    assert {spec.config["message.timestamp.type"] for spec in specs().values()} == {"LogAppendTime"}


@pytest.mark.parametrize(("replication", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_one_replica_may_be_missing(replication: int, in_sync: str) -> None:
    assert {spec.config["min.insync.replicas"] for spec in specs(replication=replication).values()} == {in_sync}


def test_the_ledger_is_compacted_soon() -> None:
    ledger = specs()["ledger"].config
    assert (ledger["segment.ms"], ledger["min.cleanable.dirty.ratio"]) == ("600000", "0.1")


def test_a_dead_letter_holds_a_mebibyte_in_base64() -> None:
    assert int(specs()["dead-letters"].config["max.message.bytes"]) > 1024 * 1024 * 4 / 3 + 64 * 1024


def test_every_setting_is_text_that_a_broker_takes() -> None:
    for spec in specs().values():
        assert all(isinstance(value, str) for value in spec.config.values())


def test_two_installations_share_nothing() -> None:
    one = {spec.name for spec in specs("easel").values()} | {Topics("easel").group("admission")}
    two = {spec.name for spec in specs("easel-2").values()} | {Topics("easel-2").group("admission")}
    assert not one & two


def test_names_are_ones_that_kafka_takes() -> None:
    longest = Topics("x" * 81).specs(
        partitions=1, jobs_partitions=1, replication=1, pools=["p" * 63], own_topics=["t" * 63]
    )
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", spec.name) for spec in longest)


def test_what_admission_reads() -> None:
    topics = Topics("p")
    assert topics.inputs() == {"requests": topics.requests, "rerouted": topics.rerouted, "outcomes": topics.outcomes}
    assert tuple(topics.inputs()) == ADMISSION_INPUTS


def test_the_properties_name_the_topics_that_are_made() -> None:
    topics = Topics("easel")
    named = {
        topics.requests,
        topics.rerouted,
        topics.outcomes,
        topics.ledger,
        topics.jobs("default"),
        topics.jobs("large"),
        topics.results,
        topics.results_of("acme"),
        topics.webhooks,
        topics.redeliveries,
        topics.usage,
        topics.progress,
        topics.control,
        topics.fleet,
        topics.dead_letters,
    }
    assert named == {spec.name for spec in specs().values()}

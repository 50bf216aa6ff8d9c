"""Makes the topics of an installation, and checks that they are as they must be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiokafka.errors as kafka
from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.connection import KafkaSettings
from schemas.topics import TopicSpec
from transport.admin import admin_client
from transport.errors import Misconfigured, limited

__all__ = ["TopicsReport", "check_topics", "cluster_id", "ensure_topics", "grow_topics", "partition_counts"]

_CALL_S = 30.0
_LOOK_S = 0.05
# Values whose order means nothing.
_SETS = frozenset({"cleanup.policy"})


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """Names of the topics made now and of those that were there, and what is wrong with any of them, in words."""

    created: tuple[str, ...]
    kept: tuple[str, ...]
    problems: tuple[str, ...]


async def ensure_topics(
    settings: KafkaSettings, specs: Iterable[TopicSpec], *, timeout_s: float = _CALL_S
) -> TopicsReport:
    """Creates the topics that are missing, with ``settings.replication`` replicas, and waits until they have leaders.

    Topics that are there are left as they are; how they differ is in the report.

    Raises:
        Misconfigured: the cluster refuses a topic, and says why.
        Unavailable: not done within ``timeout_s`` seconds.
    """
    wanted = {spec.name: spec for spec in specs}
    async with limited("creating topics", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        missing = [spec for name, spec in wanted.items() if name not in await _existing(admin)]
        if missing:
            await _create(admin, missing, settings)
        while not _all_led(await _existing(admin), wanted):  # noqa: ASYNC110 - the broker does not tell
            await asyncio.sleep(_LOOK_S)
        problems = await _problems(admin, list(wanted.values()), settings)
    created = tuple(spec.name for spec in missing)
    return TopicsReport(created, tuple(name for name in wanted if name not in created), tuple(problems))


async def partition_counts(settings: KafkaSettings, *, timeout_s: float = _CALL_S) -> dict[str, int]:
    """How many partitions each topic of the cluster has. Raises Unavailable."""
    async with limited("reading the topics", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        return {name: len(partitions) for name, partitions in (await _existing(admin)).items()}


async def grow_topics(settings: KafkaSettings, wanted: Mapping[str, int], *, timeout_s: float = _CALL_S) -> list[str]:
    """Gives each topic as many partitions as ``wanted``; those that have them are left alone. Returns who grew.

    Raises:
        Misconfigured: the cluster refuses, and says why.
        Unavailable: not done within ``timeout_s`` seconds.
    """
    async with limited("adding partitions", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        existing = await _existing(admin)
        short = {name: count for name, count in wanted.items() if len(existing.get(name, ())) < count}
        if short:
            try:
                await admin.create_partitions({name: NewPartitions(count) for name, count in short.items()})
            except kafka.KafkaError as err:
                raise Misconfigured(
                    f"the cluster refuses to add partitions: {type(err).__name__}: {err}",
                    "grant the user Alter on the topics",
                    where=settings.bootstrap_servers,
                ) from err
        while not _grown(await _existing(admin), wanted):  # noqa: ASYNC110 - the broker does not tell
            await asyncio.sleep(_LOOK_S)
    return sorted(short)


async def check_topics(settings: KafkaSettings, specs: Iterable[TopicSpec], *, timeout_s: float = _CALL_S) -> list[str]:
    """What is wrong with the topics, each with its remedy; empty when all are as they must be.

    Raises:
        Unavailable: no answer within ``timeout_s`` seconds.
    """
    async with limited("checking topics", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        return await _problems(admin, list(specs), settings)


async def cluster_id(settings: KafkaSettings, *, timeout_s: float = 10.0) -> str:
    """The id that the cluster was formatted with. Raises Unavailable."""
    async with (
        limited("reading the cluster id", settings.bootstrap_servers, timeout_s),
        admin_client(settings) as admin,
    ):
        return str((await admin.describe_cluster())["cluster_id"])


async def _existing(admin: Any) -> dict[str, list[Any]]:
    # All topics, not those wanted: asking for a topic by name may create it.
    return {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}


def _all_led(existing: Mapping[str, Sequence[Any]], wanted: Iterable[str]) -> bool:
    return all(name in existing and all(p["leader"] >= 0 for p in existing[name]) for name in wanted)


def _grown(existing: Mapping[str, Sequence[Any]], wanted: Mapping[str, int]) -> bool:
    return _all_led(existing, wanted) and all(len(existing[name]) >= count for name, count in wanted.items())


async def _create(admin: Any, specs: Sequence[TopicSpec], settings: KafkaSettings) -> None:
    response = await admin.create_topics(
        [NewTopic(spec.name, spec.partitions, settings.replication, topic_configs=spec.config) for spec in specs]
    )
    for name, code, *message in response.topic_errors:
        error = kafka.for_code(code)
        # Another process may create them at the same time.
        if error not in {kafka.NoError, kafka.TopicAlreadyExistsError}:
            why = (message and message[0]) or error.description
            raise Misconfigured(
                f"the cluster refuses to create {name}: {error.__name__}: {why}",
                "correct replication, partitions or the user's access",
                where=settings.bootstrap_servers,
            )


async def _problems(admin: Any, specs: Sequence[TopicSpec], settings: KafkaSettings) -> list[str]:
    existing = await _existing(admin)
    problems = [f"{spec.name} is missing: create it with `easel topics`" for spec in specs if spec.name not in existing]
    present = [spec for spec in specs if spec.name in existing]
    configs = await _configs(admin, [spec.name for spec in present])
    for spec in present:
        partitions = existing[spec.name]
        if len(partitions) != spec.partitions:
            problems.append(
                f"{spec.name} has {len(partitions)} partitions, not {spec.partitions}: set EASEL_KAFKA_PARTITIONS, or "
                "EASEL_KAFKA_JOBS_PARTITIONS, to what there is; docs/operations.md says how it is changed"
            )
        replicas = min(len(partition["replicas"]) for partition in partitions)
        if replicas < settings.replication:
            problems.append(
                f"{spec.name} has {replicas} replicas, not {settings.replication}: add replicas with "
                "`kafka-reassign-partitions`"
            )
        for key, value in spec.config.items():
            found = configs[spec.name].get(key)
            if found is None or not _same(key, found, value):
                problems.append(
                    f"{spec.name} has {key}={found}, not {value}: `kafka-configs --alter --entity-type topics "
                    f"--entity-name {spec.name} --add-config {key}=[{value}]`"
                )
    return problems


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str | None]]:
    if not names:
        return {}
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    found: dict[str, dict[str, str | None]] = {}
    for response in responses:
        for code, message, _kind, name, entries in response.resources:
            error = kafka.for_code(code)
            if error is not kafka.NoError:
                raise Misconfigured(
                    f"the settings of {name} cannot be read: {error.__name__}: {message or error.description}",
                    "grant the user DescribeConfigs on the topics",
                )
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _same(key: str, found: str, wanted: str) -> bool:
    if key in _SETS:
        return set(found.split(",")) == set(wanted.split(","))
    with contextlib.suppress(ValueError):
        return float(found) == float(wanted)
    return found == wanted

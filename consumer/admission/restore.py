"""A partition's memory, read back from its ledger and held against the topics that it speaks of."""

from __future__ import annotations

import asyncio

from consumer.admission.ledger import FORMAT, Init, restore
from consumer.admission.state import PartitionState
from consumer.metrics import Metrics
from schemas.settings import Settings
from schemas.topics import Topics
from transport.decided import require_decided
from transport.errors import Misconfigured
from transport.group import GroupConsumer
from transport.logs import logger
from transport.records import TopicPartition
from transport.tail import read_partition

__all__ = ["restore_partition"]

# A broker that has just come back may for a moment know less than was read from it.
_ABOVE_RANGE_TRIES = 20
_ABOVE_RANGE_WAIT_S = 0.25

_log = logger("admission")


async def restore_partition(
    settings: Settings, cluster_id: str, consumer: GroupConsumer, partition: int, metrics: Metrics
) -> PartitionState:
    """The memory as the last transaction left it, with the next offset of every input.

    Call it after the fence: before, an older owner may still be writing. Raises ``Misconfigured`` for a ledger that is
    missing, another installation's, of a newer format, or ahead of its topics; ``Undecided`` while its end is hidden.
    """
    topics = Topics(settings.kafka.prefix)
    # What was committed behind an open transaction would else be decided again.
    await require_decided(settings.kafka, [TopicPartition(topics.ledger, partition)])
    restored = await restore(read_partition(settings.kafka, topics.ledger, partition))
    init = _require_init(restored.init, settings, cluster_id, f"{topics.ledger}[{partition}]")
    state = restored.state
    for name, offset in init.start.items():
        state.next_offsets.setdefault(name, offset)
    inputs = {TopicPartition(topic, partition): name for name, topic in topics.inputs().items()}
    await _require_offsets_in_range(state, inputs, consumer, metrics)
    return state


def _require_init(init: Init | None, settings: Settings, cluster_id: str, where: str) -> Init:
    if init is None:
        raise Misconfigured(
            "the ledger has no __init record: an empty ledger is never taken for a new start",
            "run `easel topics` for a new installation; if the topic was lost, see docs/operations.md",
            where=where,
        )
    if init.moving is not None:
        raise Misconfigured(
            f"the ledger is on its way from {init.partitions} to {init.moving.to} partitions",
            f"finish that: `easel topics repartition --partitions {init.moving.to}`",
            where=where,
        )
    if init.format > FORMAT:
        raise Misconfigured(f"the ledger has format {init.format}, newer than {FORMAT}", "upgrade easel", where=where)
    expected = (cluster_id, settings.installation, settings.kafka.partitions)
    found = (init.cluster_id, init.installation, init.partitions)
    if found != expected:
        raise Misconfigured(
            f"the ledger belongs to (cluster, installation, partitions) = {found}, this service to {expected}",
            "point the service at its own cluster, and give it the installation's name and count",
            where=where,
        )
    return init


async def _require_offsets_in_range(
    state: PartitionState, inputs: dict[TopicPartition, str], consumer: GroupConsumer, metrics: Metrics
) -> None:
    end = await consumer.end_offsets(inputs)
    for _ in range(_ABOVE_RANGE_TRIES):
        if all(state.next_offsets[name] <= end[tp] for tp, name in inputs.items()):
            break
        await asyncio.sleep(_ABOVE_RANGE_WAIT_S)
        end = await consumer.end_offsets(inputs)
    for tp, name in inputs.items():
        if state.next_offsets[name] > end[tp]:
            raise Misconfigured(
                f"the ledger has read to {state.next_offsets[name]}, the topic ends at {end[tp]}: it was made anew",
                "docs/operations.md says what to do when something is lost",
                where=f"{tp.topic}[{tp.partition}]",
            )
    first = await consumer.beginning_offsets(inputs)
    for tp, name in inputs.items():
        if state.next_offsets[name] < first[tp]:
            metrics.inc("easel_offsets_below_range_total", topic=tp.topic)
            _log.error(
                "deleted before it was read", topic=tp.topic, partition=tp.partition, next=state.next_offsets[name]
            )
            state.next_offsets[name] = first[tp]

"""``easel topics``: makes an installation's topics and marks each ledger partition as its own, once.

Without that mark an empty ledger could be a new installation's or a lost one's, and the lost one's requests would be
charged a second time. So services refuse to start without it, and it is never written beside requests that may have
been read.
"""

from __future__ import annotations

from typing import Literal

from consumer.admission.ledger import INIT_KEY, Init, restore
from schemas.catalog import Catalog
from schemas.settings import Settings
from schemas.tenants import Directory
from schemas.topics import Topics, TopicSpec
from transport.errors import Misconfigured
from transport.reader import read_bounds
from transport.records import Outgoing, TopicPartition
from transport.tail import read_partition
from transport.topics import check_topics, cluster_id, ensure_topics
from transport.transactions import FencedProducer

__all__ = ["StartAt", "initialise", "specs_of"]

StartAt = Literal["refuse", "earliest", "now"]
"""Where to begin where requests lie in the topics already: not at all, at the first of them, or after the last."""


def specs_of(settings: Settings, catalog: Catalog, directory: Directory) -> list[TopicSpec]:
    """Every topic that this installation needs."""
    kafka = settings.kafka
    return Topics(kafka.prefix).specs(
        partitions=kafka.partitions,
        jobs_partitions=kafka.jobs_partitions,
        replication=kafka.replication,
        pools=catalog.pools(),
        own_topics=directory.own_topics(),
    )


async def initialise(
    settings: Settings, catalog: Catalog, directory: Directory, *, start_at: StartAt = "refuse"
) -> list[str]:
    """Make what is missing; leave alone what is there. Returns what was done, a line each.

    Raises ``Misconfigured`` where topics are not as they must be, or where a ledger was lost.
    """
    specs = specs_of(settings, catalog, directory)
    report = await ensure_topics(settings.kafka, specs)
    problems = await check_topics(settings.kafka, specs)
    if problems:
        raise Misconfigured("topics are not as they must be", "; ".join(problems))
    lines = [f"made {name}" for name in report.created]
    cluster = await cluster_id(settings.kafka)
    marked = 0
    for partition in range(settings.kafka.partitions):
        marked += await _mark(settings, partition, cluster, start_at)
    if marked:
        lines.append(f"marked {marked} ledger partitions as those of {settings.installation!r}")
    return lines


async def _mark(settings: Settings, partition: int, cluster: str, start_at: StartAt) -> bool:
    topics = Topics(settings.kafka.prefix)
    restored = await restore(read_partition(settings.kafka, topics.ledger, partition))
    if restored.init is not None:
        if (restored.init.cluster_id, restored.init.installation) != (cluster, settings.installation):
            raise Misconfigured(
                f"the ledger is that of {restored.init.installation!r} on cluster {restored.init.cluster_id}",
                "choose another prefix for this installation",
                where=f"{topics.ledger}[{partition}]",
            )
        if restored.init.moving is not None or restored.init.partitions != settings.kafka.partitions:
            # New partitions of a ledger that is not new may not be marked as empty: accounts belong there.
            to = restored.init.moving.to if restored.init.moving else settings.kafka.partitions
            raise Misconfigured(
                f"the ledger was made for {restored.init.partitions} partitions, not for {to}",
                f"move it: `easel topics repartition --partitions {to}`, or set EASEL_KAFKA_PARTITIONS back",
                where=f"{topics.ledger}[{partition}]",
            )
        return False
    inputs = {TopicPartition(topic, partition): name for name, topic in topics.inputs().items()}
    bounds = await read_bounds(settings.kafka, inputs)
    if start_at == "refuse" and any(end for _, end in bounds.values()):
        raise Misconfigured(
            "the ledger is empty but its inputs hold records: it was lost, or another easel uses this prefix",
            "restore it (docs/operations.md), or choose: `--start-at now` skips those records, `earliest` runs them",
            where=f"{topics.ledger}[{partition}]",
        )
    start = {inputs[tp]: end if start_at == "now" else first for tp, (first, end) in bounds.items()}
    init = Init(
        cluster_id=cluster, installation=settings.installation, partitions=settings.kafka.partitions, start=start
    )
    # Through the partition's own transactional id: a service that runs by mistake is shut out, not written over.
    producer = FencedProducer(settings.kafka, transactional_id=f"{settings.kafka.prefix}-admission-{partition}")
    await producer.start()
    try:
        record = Outgoing(topics.ledger, init.model_dump_json().encode(), INIT_KEY, partition=partition)
        await producer.commit([record], {}, topics.group("admission"))
    finally:
        await producer.close()
    return True

"""What a worker waits for, and what it refuses to start without, before its group gives it work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from consumer.engine.contract import EngineError
from consumer.engine.process import EngineLostError, EngineProcess
from consumer.engine.weights import unusable_files
from schemas.catalog import ModelCard, load_catalog
from schemas.settings import Settings
from schemas.topics import Topics
from transport.errors import Misconfigured, Unavailable
from transport.logs import logger
from transport.objects import ObjectStore
from transport.topics import check_topics

__all__ = ["cards_of", "engine_environment", "reach_cluster", "reach_store", "start_engine"]

_RETRY_S = 1.0

_log = logger("generation")


def cards_of(settings: Settings) -> dict[str, ModelCard]:
    """The models of this worker's pool, each of which has its files. Raises ``Misconfigured`` with the remedy."""
    generation = settings.generation
    catalog = load_catalog(settings.models)
    cards = {name: card for name, card in catalog.models.items() if card.pool == generation.pool}
    if not cards:
        raise Misconfigured(
            f"no model in {settings.models} belongs to the pool {generation.pool!r}",
            f"set EASEL_GENERATION_POOL to one of: {', '.join(catalog.pools())}",
        )
    for name, card in cards.items():
        if (generation.engine or card.engine) == "diffusers":
            for problem in unusable_files(card):
                raise Misconfigured(f"model {name!r}: {problem}", f"put the files there, or correct {settings.models}")
    return cards


def engine_environment(settings: Settings) -> dict[str, str]:
    """What the engine's process is told by variables, because torch reads it from there."""
    split_mb = settings.generation.max_split_size_mb
    return {} if split_mb is None else {"PYTORCH_ALLOC_CONF": f"max_split_size_mb:{split_mb}"}


async def reach_cluster(settings: Settings, stop: asyncio.Event) -> None:
    """Have a cluster that answers, with the topics as they must be. Raises ``Misconfigured`` when they are not."""
    kafka, pool = settings.kafka, settings.generation.pool
    topics = Topics(kafka.prefix)
    used = {topics.jobs(pool), topics.outcomes, topics.progress, topics.control, topics.dead_letters, topics.fleet}
    specs = topics.specs(
        partitions=kafka.partitions,
        jobs_partitions=kafka.jobs_partitions,
        replication=kafka.replication,
        pools=[pool],
    )
    while not stop.is_set():
        try:
            problems = await check_topics(kafka, [spec for spec in specs if spec.name in used])
        except Unavailable as error:
            _log.warning("waits for the cluster", reason=str(error))
            await _pause(stop)
            continue
        if problems:
            raise Misconfigured("the topics are not as they must be: " + "; ".join(problems), "run `easel topics`")
        return


async def reach_store(settings: Settings, store: ObjectStore, stop: asyncio.Event) -> None:
    """Have the store, and its bucket."""
    while not stop.is_set():
        try:
            if await store.ensure_bucket():
                _log.info("made the bucket", bucket=settings.store.bucket)
        except Unavailable as error:
            _log.warning("waits for the store", reason=str(error))
            await _pause(stop)
        else:
            return


async def start_engine(engine: EngineProcess, models: Sequence[str], stop: asyncio.Event) -> None:
    """Have the engine up, with the first model loaded and the others that fit beside it, unless ``stop`` comes first.

    Raises ``Misconfigured`` when it can't.
    """
    starting = asyncio.create_task(engine.start(*models))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
    except EngineLostError as error:
        if error.killed:
            # By the system, or by hand: with its next start it may well come up.
            raise Unavailable(f"the engine can't be started: {error}", "is there memory enough?") from None
        raise Misconfigured(f"the engine can't be started: {error}", "`easel doctor` says what is missing") from None
    except EngineError as error:
        raise Misconfigured(f"the engine can't be started: {error}", "`easel doctor` says what is missing") from None
    finally:
        starting.cancel()
        stopped.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RETRY_S):
            await stop.wait()

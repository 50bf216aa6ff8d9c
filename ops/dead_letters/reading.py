"""Reads the dead letters that were asked for, one after the other: a storm of them fits into no memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ops.dead_letters.letters import Letter, Place, read_letter, read_replayed
from schemas.connection import KafkaSettings
from schemas.topics import Topics
from transport.errors import OffsetsUnknown
from transport.tail import read_partition

__all__ = ["Selection", "read_letters", "read_one", "read_replays"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those that fit everything that is given."""

    codes: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    """Of origin."""
    tenants: frozenset[str] = frozenset()
    """As their tokens name them."""
    places: frozenset[Place] = frozenset()
    since_ms: int | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    def fits(self, letter: Letter) -> bool:
        """Whether it is meant; ``since_ms`` is for who reads."""
        return (
            (not self.codes or letter.content.cause.code in self.codes)
            and (not self.topics or letter.content.topic in self.topics)
            and (not self.tenants or letter.tenant in self.tenants)
            and (not self.places or letter.place in self.places)
        )


async def read_letters(kafka: KafkaSettings, selection: Selection) -> AsyncGenerator[Letter, None]:
    """Those that are meant, in the order of their places, as the topic stands now. Raises ``TransportError``."""
    topic = Topics(kafka.prefix).dead_letters
    named = {place.partition for place in selection.places}
    for partition in range(kafka.partitions):
        if named and partition not in named:
            continue
        async for records in read_partition(kafka, topic, partition, since_ms=selection.since_ms):
            for record in records:
                letter = read_letter(record)
                if letter is not None and selection.fits(letter):
                    yield letter


async def read_replays(kafka: KafkaSettings, since_ms: int | None = None) -> dict[Place, int]:
    """The letters that were replayed, and when they were last. Raises ``TransportError``."""
    topic = Topics(kafka.prefix).dead_letters
    found: dict[Place, int] = {}
    for partition in range(kafka.partitions):
        async for records in read_partition(kafka, topic, partition, since_ms=since_ms):
            for record in records:
                if note := read_replayed(record):
                    found[Place(note.partition, note.offset)] = record.timestamp_ms
    return found


async def read_one(kafka: KafkaSettings, place: Place) -> Letter | None:
    """The letter that lies there; None if there is none. Raises ``TransportError``."""
    topic = Topics(kafka.prefix).dead_letters
    if place.partition >= kafka.partitions:
        return None
    try:
        async with aclosing(read_partition(kafka, topic, place.partition, from_offset=place.offset)) as batches:
            async for records in batches:
                letter = read_letter(records[0])
                return letter if letter is not None and letter.place == place else None
    except OffsetsUnknown:
        return None
    return None

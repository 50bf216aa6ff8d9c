"""The notes of the control topic: which attempts are not wanted any more, and which are to run alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.jobs import Control
from schemas.topics import Topics
from transport.errors import OffsetsUnknown, TransportError
from transport.logs import logger
from transport.records import Record
from transport.tail import Tail

__all__ = ["ControlNotes", "Note"]

_RETRY_S = 1.0
# The topic keeps its notes for three days, which is how long a job may lie in its own.
_KEPT_S = 3 * 24 * 3600
_PRUNE_EVERY = 1_000

_log = logger("generation")


@dataclass(frozen=True, slots=True)
class Note:
    """All that has been said about a request."""

    min_attempt: int = 0
    canceled: bool = False
    alone: bool = False
    at_s: float = 0.0

    def drops(self, attempt: int) -> bool:
        """Whether this attempt is not wanted any more."""
        return attempt < self.min_attempt


_NOTHING = Note()


class ControlNotes:
    """Follows the topic; ``read_up`` is set once all that was there at the start is known."""

    def __init__(self, kafka: KafkaSettings, on_note: Callable[[str, str], None]) -> None:
        """``on_note(tenant, request_id)`` is called for each note, once it is in force."""
        self._kafka = kafka
        self._on_note = on_note
        self._notes: dict[tuple[str, str], Note] = {}
        self._since_pruned = 0
        self.read_up = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        topic = Topics(self._kafka.prefix).control
        while True:
            try:
                async with Tail(self._kafka, [topic]) as tail:
                    reached = asyncio.create_task(self._note_reached(tail))
                    try:
                        async for batch in tail:
                            for record in batch:
                                self._take(record)
                    finally:
                        reached.cancel()
            except OffsetsUnknown as error:
                # Made anew: its notes were about jobs that are gone with it.
                _log.warning("the control topic is read again", reason=str(error))
                self._notes.clear()
            except TransportError as error:
                _log.warning("the control topic can't be read", reason=str(error))
            await asyncio.sleep(_RETRY_S)

    def about(self, tenant: str, request_id: str) -> Note:
        """What holds for this request."""
        return self._notes.get((tenant, request_id), _NOTHING)

    async def _note_reached(self, tail: Tail) -> None:
        await tail.caught_up.wait()
        self.read_up.set()

    def _take(self, record: Record) -> None:
        if record.value is None:
            return
        try:
            note = Control.model_validate_json(Envelope.read(record.headers, record.value).data)
        except (EaselError, ValidationError) as error:
            _log.error("a note on the control topic is malformed", offset=record.offset, reason=str(error)[:200])
            return
        key = note.tenant, note.request_id
        known = self.about(*key)
        self._notes[key] = Note(
            max(note.min_attempt, known.min_attempt),
            note.canceled or known.canceled,
            note.alone or known.alone,
            record.timestamp_ms / 1000,
        )
        self._prune()
        self._on_note(*key)

    def _prune(self) -> None:
        self._since_pruned += 1
        if self._since_pruned < _PRUNE_EVERY:
            return
        self._since_pruned = 0
        oldest = time.time() - _KEPT_S
        self._notes = {key: note for key, note in self._notes.items() if note.at_s >= oldest}

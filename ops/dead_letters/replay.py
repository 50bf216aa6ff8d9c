"""Gives the requests in dead letters to admission again, with their ids and signatures.

A replay goes by the topic ``rerouted``, to the partition that keeps its tenant's account, with the time at which the
broker first received the request: expiry is judged by that. Admission answers ``duplicate`` for one that it knows, and
remembers those that came by a replay for as long as dead letters are kept. Of older letters it may have forgotten that
their publisher sent them again: the usage topic has not. So nothing is ever done twice. The request and the note that
it was replayed are one transaction.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from consumer.admission.intake import APPENDED_HEADER, REPLAY_HEADER, authenticate, noted_append_ms
from ops.dead_letters.history import accepted_before
from ops.dead_letters.letters import TYPE_HEADER, Letter, Place, content_of
from schemas.connection import KafkaSettings
from schemas.envelope import JSON, Envelope
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.events import DeadLetterReplayed
from schemas.tenants import Directory
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.records import Outgoing
from transport.transactions import FencedProducer

__all__ = ["Replay", "Replayer", "Rules", "Verdict"]

_BATCH_LETTERS = 100
_BATCH_BYTES = 4 * 1024 * 1024
_SHOWN = 200
_REMEMBERED_MS = 48 * 3600 * 1000
"""For this long admission surely knows an id itself: the least that its setting allows is an hour more."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a letter can be replayed: the files in force, as admission has them."""

    kafka: KafkaSettings
    installation: str
    directory: Directory

    def examine(self, letter: Letter) -> Replay:
        """What would be replayed. Raises ``EaselError`` for what can't be."""
        topics = Topics(self.kafka.prefix)
        content = letter.content
        if content.stage == "webhooks":
            return self._redelivery(letter)
        if content.topic not in (topics.requests, topics.rerouted):
            raise EaselError(
                Code.UNSUPPORTED_TYPE,
                f"it comes from {content.topic[:_SHOWN]!r}: only requests and webhooks are replayed",
            )
        if content.truncated:
            raise EaselError(Code.RECORD_TOO_LARGE, "it was too large to be kept whole: it has to be sent again")
        value, headers = content_of(content)
        envelope = Envelope.read(headers, value)
        appended_ms = self._appended_ms(letter)
        verified = authenticate(envelope, self.directory, self.installation, appended_ms=appended_ms)
        ours = (APPENDED_HEADER, REPLAY_HEADER)
        return Replay(
            letter.place,
            verified.tenant,
            envelope.id,
            appended_ms,
            Outgoing(
                topics.rerouted,
                value,
                verified.tenant.encode(),
                (
                    *(header for header in headers if header[0] not in ours),
                    (APPENDED_HEADER, str(appended_ms).encode()),
                    (REPLAY_HEADER, str(letter.place).encode()),
                ),
                partition_of(verified.tenant.encode(), self.kafka.partitions),
            ),
        )

    def _redelivery(self, letter: Letter) -> Replay:
        value, headers = content_of(letter.content)
        envelope = Envelope.read(headers, value)
        tenant = letter.tenant or ""
        home = partition_of(tenant.encode(), self.kafka.partitions)
        record = Outgoing(Topics(self.kafka.prefix).redeliveries, value, tenant.encode(), headers, home)
        return Replay(letter.place, tenant, envelope.subject or envelope.id, letter.content.appended_ms, record)

    def _appended_ms(self, letter: Letter) -> int:
        # On requests anyone may have written the header; on rerouted only admission and replays do.
        rerouted = letter.content.topic == Topics(self.kafka.prefix).rerouted
        noted = noted_append_ms(content_of(letter.content)[1]) if rerouted else None
        return letter.content.appended_ms if noted is None else noted


@dataclass(frozen=True, slots=True)
class Replay:
    """A request that can be given to admission again, or an event that can be posted again."""

    place: Place
    tenant: str
    request_id: str
    appended_ms: int
    record: Outgoing

    def note(self, topic: str) -> Outgoing:
        """That it was, beside the letter itself."""
        said = DeadLetterReplayed(
            partition=self.place.partition, offset=self.place.offset, tenant=self.tenant, request_id=self.request_id
        )
        headers = (("content-type", JSON.encode()), (TYPE_HEADER, DeadLetterReplayed.TYPE.encode()))
        return Outgoing(topic, said.model_dump_json().encode(), headers=headers, partition=self.place.partition)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a letter: replayed, skipped because it was before, or refused because of ``error``."""

    letter: Letter
    replay: Replay | None = None
    error: ErrorBody | None = None
    replayed_ms: int | None = None
    """When it was replayed before."""


class Replayer:
    """Replays letters in transactions of its own. Use it as a context manager.

    A second one fences the first: two operators don't replay the same letter beside each other.
    """

    def __init__(
        self,
        rules: Rules,
        replayed: Mapping[Place, int],
        *,
        again: bool,
        dry_run: bool,
        remembered_ms: int = _REMEMBERED_MS,
    ) -> None:
        """``remembered_ms``: letters that are older are looked up among all that was ever accepted."""
        self._remembered_ms = remembered_ms
        self._rules = rules
        self._replayed = replayed
        self._again = again
        kafka = rules.kafka
        self._topic = Topics(kafka.prefix).dead_letters
        self._producer = (
            None if dry_run else FencedProducer(kafka, transactional_id=f"{kafka.prefix}-dead-letters-replay")
        )

    async def __aenter__(self) -> Self:
        """Raises ``TransportError``."""
        if self._producer is not None:
            await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.close()

    async def run(self, letters: AsyncIterator[Letter]) -> AsyncGenerator[Verdict, None]:
        """What became of each letter; told once that is committed.

        Raises ``Doubt`` when it is not known whether the last ones were: what was, has its note.
        """
        waiting: list[Verdict] = []
        size = 0
        async for letter in letters:
            verdict = self._judge(letter)
            if verdict.replay is None:
                yield verdict
                continue
            waiting.append(verdict)
            size += letter.content.value_bytes
            if len(waiting) >= _BATCH_LETTERS or size >= _BATCH_BYTES:
                for done in await self._commit(waiting):
                    yield done
                waiting, size = [], 0
        for done in await self._commit(waiting):
            yield done

    def _judge(self, letter: Letter) -> Verdict:
        before = self._replayed.get(letter.place)
        if before is not None and not self._again:
            return Verdict(letter, replayed_ms=before)
        try:
            return Verdict(letter, self._rules.examine(letter), replayed_ms=before)
        except EaselError as refusal:
            return Verdict(letter, error=refusal.body(), replayed_ms=before)

    async def _commit(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        found = await self._without_done(verdicts)
        replays = [verdict.replay for verdict in found if verdict.replay is not None]
        if self._producer is not None and replays:
            messages = [message for replay in replays for message in (replay.record, replay.note(self._topic))]
            await self._producer.commit(messages, {}, "none")
        return found

    async def _without_done(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """The same, with those refused that were accepted once and may be forgotten."""
        found = list(verdicts)
        oldest_known = int(time.time() * 1000) - self._remembered_ms
        old = {
            (verdict.replay.tenant, verdict.replay.request_id): verdict.replay.appended_ms
            for verdict in found
            if verdict.replay is not None
            and verdict.replay.appended_ms < oldest_known
            and verdict.letter.content.stage != "webhooks"
        }
        done = await accepted_before(self._rules.kafka, old) if old else set()
        return [
            replace(verdict, replay=None, error=_DONE)
            if verdict.replay is not None
            and verdict.letter.content.stage != "webhooks"
            and (verdict.replay.tenant, verdict.replay.request_id) in done
            else verdict
            for verdict in found
        ]


_DONE = ErrorBody(
    message="a request with this id was accepted since: it is not done again",
    type=ErrorType.INVALID_REQUEST,
    param="ce_id",
    code=Code.ALREADY_ENDED,
)

"""Which dead letters are meant, what may be replayed, and what a letter shows of what a stranger wrote."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from consumer.admission.intake import APPENDED_HEADER, REPLAY_HEADER
from consumer.dead_letters import dead_letter
from ops.cli.letter_lines import letter_as_line, letter_in_full
from ops.dead_letters.letters import Letter, Place, read_letter, read_replayed
from ops.dead_letters.reading import Selection
from ops.dead_letters.replay import Replay, Rules
from producer_api.signed import build_request
from schemas.connection import KafkaSettings
from schemas.errors import Code, EaselError, ErrorBody, ErrorType
from schemas.ids import new_id
from schemas.requests import CancelRequest, GenerationRequest
from schemas.tenants import load_tenants
from schemas.topics import Topics
from tests.producer_api.support import SECRET, SIGNER, TENANT
from transport.partitioning import partition_of
from transport.records import Headers, Outgoing, Record

KAFKA = KafkaSettings(partitions=4)
TOPICS = Topics(KAFKA.prefix)
CAUSE = ErrorBody(message="no such key", type=ErrorType.AUTHENTICATION, code=Code.KEY_UNKNOWN)
REQUEST = GenerationRequest(prompt="a secret prompt", model="easel-tiny")


def now_ms() -> int:
    return int(time.time() * 1000)


def signed(asked: GenerationRequest | CancelRequest = REQUEST, **options: Any) -> Outgoing:
    return build_request(asked, tenant=TENANT, signer=SIGNER, topics=TOPICS, **options)


def letter_of(
    out: Outgoing,
    *,
    topic: str = TOPICS.requests,
    at_ms: int | None = None,
    more: Headers = (),
    value: bytes | None = None,
) -> Letter:
    """What admission makes of a record that it refuses, read back."""
    content = out.value if value is None else value
    record = Record(topic, 1, 5, at_ms or now_ms(), out.key, content, (*out.headers, *more))
    dead = dead_letter(TOPICS.dead_letters, record, CAUSE, stage="admission", partition=1)
    letter = read_letter(Record(dead.topic, 3, 17, now_ms(), dead.key, dead.value, dead.headers))
    assert letter is not None
    return letter


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    (tmp_path / "secret").write_text(SECRET)
    key = {"kid": SIGNER.kid, "alg": "HS256", "secret_file": "secret"}
    path = tmp_path / "tenants.yaml"
    path.write_text(json.dumps({"version": 1, "tenants": [{"id": TENANT, "keys": [key]}]}))
    return Rules(KAFKA, "easel", load_tenants(path))


class TestWhatIsReplayed:
    def test_it_goes_to_its_tenants_partition_as_it_was(self, rules: Rules) -> None:
        out = signed(traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", idempotency_key="order-7")
        at_ms = now_ms() - 5_000
        replay = rules.examine(letter_of(out, at_ms=at_ms))
        record = replay.record
        assert (record.topic, record.partition) == (TOPICS.rerouted, partition_of(TENANT.encode(), 4))
        assert (record.value, record.key) == (out.value, TENANT.encode())
        assert record.headers == (
            *out.headers,
            (APPENDED_HEADER, str(at_ms).encode()),
            (REPLAY_HEADER, b"3@17"),
        )

    def test_what_a_stranger_wrote_of_time_and_place_is_not_believed(self, rules: Rules) -> None:
        lies: Headers = ((APPENDED_HEADER, b"1"), (REPLAY_HEADER, b"9@9"))
        at_ms = now_ms()
        headers = rules.examine(letter_of(signed(), at_ms=at_ms, more=lies)).record.headers
        assert [value for name, value in headers if name == APPENDED_HEADER] == [str(at_ms).encode()]
        assert [value for name, value in headers if name == REPLAY_HEADER] == [b"3@17"]

    def test_one_that_had_been_moved_keeps_the_time_of_its_first_arrival(self, rules: Rules) -> None:
        first = now_ms() - 60_000
        moved = letter_of(signed(), topic=TOPICS.rerouted, more=((APPENDED_HEADER, str(first).encode()),))
        headers = dict(rules.examine(moved).record.headers)
        assert headers[APPENDED_HEADER] == str(first).encode()

    def test_a_cancel_is_a_request_too(self, rules: Rules) -> None:
        assert rules.examine(letter_of(signed(CancelRequest(request_id=new_id())))).tenant == TENANT

    def test_expiry_is_judged_by_when_the_broker_first_had_it(self, rules: Rules) -> None:
        signed_at = time.time() - 10 * 86_400
        old = signed(now_s=signed_at)
        assert rules.examine(letter_of(old, at_ms=int(signed_at * 1000) + 10)).tenant == TENANT
        with pytest.raises(EaselError) as refused:
            rules.examine(letter_of(old))
        assert refused.value.code == Code.TOKEN_EXPIRED


class TestWhatIsRefused:
    @pytest.mark.parametrize("topic", [TOPICS.outcomes, TOPICS.jobs("default"), "another.requests"])
    def test_what_is_no_request(self, rules: Rules, topic: str) -> None:
        with pytest.raises(EaselError, match="only requests and webhooks are replayed") as refused:
            rules.examine(letter_of(signed(), topic=topic))
        assert refused.value.code == Code.UNSUPPORTED_TYPE

    def test_what_was_not_kept_whole(self, rules: Rules) -> None:
        with pytest.raises(EaselError) as refused:
            rules.examine(letter_of(signed(), value=b"x" * (1024 * 1024 + 1)))
        assert refused.value.code == Code.RECORD_TOO_LARGE

    def test_what_admission_would_refuse_again(self, rules: Rules, tmp_path: Path) -> None:
        cases = {
            Code.BODY_MISMATCH: letter_of(signed(), value=b"{}"),
            Code.ENVELOPE_INVALID: letter_of(signed(), more=(("ce_id", b"twice"),)),
            Code.CLAIMS_INVALID: letter_of(signed(), more=(("ce_idempotencykey", b"order-8"),)),
        }
        for code, letter in cases.items():
            with pytest.raises(EaselError) as refused:
                rules.examine(letter)
            assert refused.value.code == code
        (tmp_path / "other.yaml").write_text(json.dumps({"version": 1, "tenants": [{"id": "bolt"}]}))
        without = Rules(KAFKA, "easel", load_tenants(tmp_path / "other.yaml"))
        with pytest.raises(EaselError) as refused:
            without.examine(letter_of(signed()))
        assert refused.value.code == Code.KEY_UNKNOWN


class TestSelection:
    @pytest.mark.parametrize(
        ("selection", "fits"),
        [
            (Selection(), True),
            (Selection(codes=frozenset({"key_unknown"})), True),
            (Selection(codes=frozenset({"token_expired"})), False),
            (Selection(topics=frozenset({TOPICS.requests}), tenants=frozenset({TENANT})), True),
            (Selection(topics=frozenset({TOPICS.outcomes})), False),
            (Selection(tenants=frozenset({"bolt"})), False),
            (Selection(places=frozenset({Place(3, 17)})), True),
            (Selection(places=frozenset({Place(3, 18)})), False),
        ],
    )
    def test_what_fits(self, selection: Selection, fits: bool) -> None:
        assert selection.fits(letter_of(signed())) is fits

    def test_only_what_says_nothing_is_everything(self) -> None:
        assert Selection().is_everything
        assert not Selection(since_ms=0).is_everything

    @pytest.mark.parametrize("text", ["", "3", "@", "3@", "x@1", "3@-1", "3@1 ", "³@1"])
    def test_what_is_no_place(self, text: str) -> None:
        with pytest.raises(ValueError, match="3@17"):
            Place.parse(text)


class TestShown:
    def told(self, letter: Letter, *, body: bool = False) -> str:
        return "\n".join(f"{name}: {text}" for name, text in letter_in_full(letter, None, body=body))

    def test_neither_prompt_nor_signature_unless_it_is_asked_for(self) -> None:
        out = signed()
        token = (dict(out.headers)["ce_signature"] or b"").decode()
        brief, whole = self.told(letter_of(out)), self.told(letter_of(out), body=True)
        assert "a secret prompt" not in brief
        assert token.rpartition(".")[2] not in brief
        assert f"sub={TENANT}" in brief
        assert "a secret prompt" in whole
        assert token in whole

    def test_what_a_stranger_wrote_moves_no_cursor(self) -> None:
        evil = "\x1b[2J\x9b31m\r"
        out = Outgoing(TOPICS.requests, evil.encode(), headers=((f"x{evil}", evil.encode()),))
        letter = letter_of(out)
        sly = Letter(
            letter.place, 0, letter.content.model_copy(update={"cause": CAUSE.model_copy(update={"message": evil})})
        )
        for text in (self.told(sly, body=True), letter_as_line(sly).plain):
            assert not set(text) & set("\x1b\x9b\r")

    @pytest.mark.parametrize("token", ["", "x", "x.y", "é.é.é", ".".join([base64.b64encode(b"[]").decode()] * 3)])
    def test_a_token_that_is_none_names_nobody(self, token: str) -> None:
        out = Outgoing(TOPICS.requests, b"{}", headers=(("ce_signature", token.encode()),))
        assert letter_of(out).tenant is None

    def test_a_name_that_cannot_be_a_tenants_is_not_shown(self) -> None:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "\x1b[2J"}).encode()).decode()
        assert (
            letter_of(Outgoing(TOPICS.requests, b"{}", headers=(("ce_signature", f"e30.{claims}.x".encode()),))).tenant
            is None
        )


def test_a_note_is_no_letter_and_a_letter_no_note() -> None:
    note = Replay(Place(3, 17), TENANT, new_id(), 0, signed()).note(TOPICS.dead_letters)
    record = Record(note.topic, 3, 18, 0, note.key, note.value, note.headers)
    assert read_letter(record) is None
    found = read_replayed(record)
    assert found is not None
    assert (found.partition, found.offset, note.partition) == (3, 17, 3)
    letter = letter_of(signed())
    dead = Record(TOPICS.dead_letters, 3, 17, 0, None, letter.content.model_dump_json().encode(), ())
    assert read_replayed(dead) is None

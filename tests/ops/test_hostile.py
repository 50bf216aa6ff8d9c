"""Hostile events against a real installation: nobody is harmed, and what is said about them is as the contract says."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import jsonschema
import pytest

from ops.hostile.bodies import SIGNED
from ops.hostile.envelopes import UNSIGNED
from ops.hostile.fates import Fates
from ops.hostile.publish import drawn
from ops.hostile.run import Hostile
from ops.hostile.signed import Forger, Raw
from schemas.asyncapi.document import document
from schemas.connection import KafkaSettings
from schemas.events import Accepted, DeadLetter, Rejected, Succeeded, UsageHeld
from tests.ops.cli_process import processes_with, still_running
from transport.records import Record

FORGER = Forger("mallory", "mallory-1", b"x" * 32, "easel")
A_KIND = 100
"""Events of each type that are held against the contract."""


class Contract:
    """Holds every event that goes by against its schemas."""

    def __init__(self) -> None:
        whole = document("0")
        self.seen: Counter[str] = Counter()
        self._addresses = {
            name: channel["address"] for channel in whole["channels"].values() for name in channel["messages"]
        }
        self._checks = {
            name: [
                jsonschema.Draft7Validator({**schema, "components": whole["components"]})
                for schema in (message["payload"], message["headers"], message["bindings"]["kafka"]["key"])
            ]
            for name, message in whole["components"]["messages"].items()
        }

    def watch(self, record: Record) -> None:
        headers = {name: (value or b"").decode() for name, value in record.headers}
        kind = headers.get("ce_type") or headers["easel_type"]
        self.seen[kind] += 1
        if self.seen[kind] > A_KIND:
            return
        payload, head, key = self._checks[kind]
        payload.validate(json.loads(record.value or b""))
        head.validate(headers)
        if kind != DeadLetter.TYPE:
            key.validate((record.key or b"").decode())
            assert record.topic in (self._addresses[kind], "easel.results")


@pytest.mark.system
async def test_nobody_is_harmed(tmp_path: Path) -> None:
    contract = Contract()
    run = Hostile(tmp_path, seed=7, events=5_000, rate=1_000.0, watch=contract.watch)
    try:
        numbers = await run.run()
    finally:
        run.close()
    assert (run.judged.missing, run.judged.doubled, run.judged.wrong) == ([], [], [])
    assert numbers.clean, numbers
    assert numbers.dead_lettered + numbers.answered == numbers.events == 5_000
    assert min(numbers.dead_lettered, numbers.answered) > 1_500
    assert numbers.good_sent > 10
    assert still_running(processes_with(str(tmp_path))) == []
    for kind in (Accepted.TYPE, Rejected.TYPE, Succeeded.TYPE, UsageHeld.TYPE, DeadLetter.TYPE):
        assert contract.seen[kind] > 10


def test_the_same_seed_draws_the_same_kinds_and_every_one() -> None:
    first, again = (list(islice(drawn(3, FORGER), 2_000)) for _ in range(2))
    assert [raw.kind for raw in first] == [raw.kind for raw in again]
    assert len({raw.kind for raw in first}) >= len({**SIGNED, **UNSIGNED}) - 1


class TestJudge:
    """A verdict that can't say no says nothing."""

    PLACE = (0, 7)

    def fates(self, *told: str) -> Fates:
        fates = Fates(KafkaSettings())
        fates._told["easel.requests", *self.PLACE] += told
        return fates

    @pytest.mark.parametrize(
        ("fate", "told", "wrong"),
        [
            ("dead", ["dead key_unknown"], None),
            ("answered", ["easel.generation.rejected.v1 invalid_request"], None),
            ("either", ["dead envelope_invalid"], None),
            ("dead", [], "missing"),
            ("dead", ["dead key_unknown", "dead key_unknown"], "doubled"),
            ("dead", ["easel.generation.accepted.v1"], "wrong"),
            ("answered", ["dead signature_invalid"], "wrong"),
            ("either", ["dead internal_error"], "wrong"),
            ("answered", ["easel.generation.rejected.v1 internal_error"], "wrong"),
        ],
    )
    def test_it_says_what_is_wrong(self, fate: str, told: list[str], wrong: str | None) -> None:
        raw = Raw("kind", fate, None, None)  # type: ignore[arg-type]
        found = self.fates(*told).judge({self.PLACE: (1, raw)})
        said = {name: getattr(found, name) for name in ("missing", "doubled", "wrong")}
        assert [name for name, lines in said.items() if lines] == ([] if wrong is None else [wrong])

"""A small, true story for the verifier, which tests then make false."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ops.chaos.journal import NUMBER_HEADER, Acked, Line, Sent, SentKind, TenantRules
from ops.chaos.verify_facts import Facts, LedgerFacts, Said
from schemas.audit import AuditNote
from schemas.errors import Code, ErrorBody
from schemas.events import DeadLetter
from transport.records import Record

DAY, MONTH = "2026-11-21", "2026-11"
COST = 10


class Story:
    """One success, one failure, one duplicate, one refusal, one forgery, one cancel that came too late, one dry run, a
    delete that is done and one of something unknown."""

    def __init__(self) -> None:
        self.facts = Facts(ends={"requests": {0: 9}})
        self.journal: dict[int, Line] = {}
        self.rules = {1: {"acme": TenantRules(suspended=False, day_milliunits=2 * COST)}}
        self._held = self._settled = self._refunded = 0
        for name, kind in (("a", "valid"), ("b", "wanted"), ("a", "duplicate"), ("c", "invalid"), ("d", "unsigned")):
            self._send(name, kind)  # type: ignore[arg-type]
        self._send("k", "cancel", about="a")
        self._send("b", "dry_run")
        self._send("x", "delete", about="b")
        self._send("y", "delete_unknown", about="z")
        self.say("results", "generation.priced", "b", to=6, cost_milliunits=COST, cached=False)
        for number, name in enumerate(("a", "b")):
            self.say("results", "generation.accepted", name, to=number, cost_milliunits=COST)
            self._move("held", name, COST)
            self.say("jobs", "job.assigned", name, attempt=1, cost_milliunits=COST)
            self.say("outcomes", "job.succeeded" if name == "a" else "job.failed", name, attempt=1)
        self.say("results", "generation.duplicate", "a", to=2, of=None)
        self.say("results", "generation.rejected", "c", to=3)
        self.say("results", "generation.succeeded", "a", cost_milliunits=COST, refunded_milliunits=0, outputs=[])
        self._move("settled", "a", COST)
        self.say("results", "generation.failed", "b", cost_milliunits=0, refunded_milliunits=COST, error={"code": "-"})
        self._move("refunded", "b", COST)
        self.say("results", "generation.cancel_refused", "a", to=5, cancel_id="k")
        self.say("results", "generation.deleted", "b", delete_id="x")
        self.say("results", "generation.delete_refused", "z", to=8, delete_id="y", error={"code": "not_found"})
        self.letter(4)
        account = {"held": 2 * COST, "settled": COST, "refunded": COST}
        self.facts.ledger = LedgerFacts(
            accounts={"acme": {"days": {DAY: dict(account)}, "months": {MONTH: dict(account)}}},
            requests={
                ("acme", "a"): {"state": "succeeded", "ended_ms": 1},
                ("acme", "b"): {"state": "failed", "ended_ms": 1},
            },
            next_offsets={0: {"requests": 9}},
        )

    def say(self, topic: str, kind: str, name: str, *, at_ms: int = 0, to: int | None = None, **content: Any) -> Said:
        """One more event; ``to``: the offset of the request that it answers."""
        events: list[Said] = getattr(self.facts, topic)
        said = Said(
            kind, "acme", name, f"{topic} {len(events)}", {"tenant": "acme", "request_id": name, **content}, 0,
            len(events), at_ms, None if to is None else _note(to),
        )  # fmt: skip
        events.append(said)
        return said

    def letter(self, offset: int) -> None:
        """A dead letter of the record there."""
        self.facts.dead_letters.append(
            DeadLetter(
                cause=ErrorBody(message="-", type="-", code=Code.SIGNATURE_MISSING),
                stage="admission",
                topic="easel.requests",
                partition=0,
                offset=offset,
                appended_ms=0,
                key_base64=None,
                value_base64=None,
                value_bytes=0,
                value_sha256="",
                headers=[],
            )
        )

    def drop(self, topic: str, kind: str, name: str) -> None:
        """Forget one event."""
        events: list[Said] = getattr(self.facts, topic)
        events.remove(next(event for event in events if (event.kind, event.request_id) == (kind, name)))

    def change(self, topic: str, kind: str, name: str, **content: Any) -> None:
        """Let one event say something else."""
        for event in self._events(topic):
            if (event.kind, event.request_id) == (kind, name):
                event.content.update(content)

    def _events(self, topic: str) -> Iterable[Said]:
        found: list[Said] = getattr(self.facts, topic)
        return found

    def _send(self, name: str, kind: SentKind, *, about: str | None = None) -> None:
        number = len(self.journal) + 1
        sent = Sent(n=number, kind=kind, tenant="acme", event_id=name, partition=0, about=about)
        self.journal[number] = Line(sent, Acked(n=number, partition=0, offset=number - 1))
        headers = ((NUMBER_HEADER, str(number).encode()),)
        self.facts.requests.append(Record("easel.requests", 0, number - 1, 0, None, b"", headers))

    def _move(self, kind: str, name: str, milliunits: int) -> None:
        setattr(self, f"_{kind}", getattr(self, f"_{kind}") + milliunits)
        left = self._held - self._settled - self._refunded
        after = {"held": self._held, "settled": self._settled, "refunded": self._refunded, "outstanding": left}
        self.say(
            "usage",
            f"usage.{kind}",
            name,
            milliunits=milliunits,
            day={"period": DAY, **after, "limit": 2 * COST},
            month={"period": MONTH, **after},
        )


def _note(offset: int) -> AuditNote:
    return AuditNote(
        issuer="acme",
        kid="acme-1",
        type="-",
        id="-",
        body_sha256=hashlib.sha256(b"").hexdigest(),
        input="requests",
        partition=0,
        offset=offset,
        tenants_version=1,
    )

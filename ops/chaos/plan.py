"""What is asked for: valid requests, and all that tenants, their mistakes, and forgers send besides."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519

from consumer.engine.null_faults import DEADLY_PROMPT
from ops.chaos.installation import MODEL, PARTITIONS, TENANTS
from ops.chaos.journal import CANCELS, DELETES, NUMBER_HEADER, Sent, SentKind
from schemas.envelope import Envelope
from schemas.ids import new_id
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.signing import IDEMPOTENCY_KEY, Signer
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.records import Outgoing

__all__ = ["SHARES", "Draft", "Plan"]

SHARES: dict[SentKind, int] = {
    "valid": 600,
    "misplaced": 80,
    "duplicate": 80,
    "conflict": 30,
    "keyed": 40,
    "invalid": 20,
    "too_late": 10,
    "hurried": 30,
    "bad_signature": 10,
    "unknown_key": 10,
    "changed_body": 10,
    "unsigned": 5,
    "garbage": 5,
    "cancel": 60,
    "cancel_unknown": 5,
    "delete": 40,
    "delete_unknown": 3,
    "dry_run": 40,
    "wanted": 15,
    "poison": 3,
}
"""Parts of 1,100, about."""

_RECENT = 300
_JUST_NOW = 12
_PRICED = 20
_AGAIN = frozenset({"duplicate", "conflict", "cancel", "delete"})
_SEEDS = 40
_KEYS = 20


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to be published, and its line in the journal."""

    sent: Sent
    record: Outgoing


class Plan:
    """Draws one after the other: the same seed asks for the same things, under new ids."""

    def __init__(
        self, seed: int, signers: Mapping[str, Signer], topics: Topics, shares: Mapping[SentKind, int]
    ) -> None:
        self._chance = random.Random(f"plan {seed}")  # noqa: S311 - it has to be repeatable, not secret
        self._signers = signers
        self._stranger = replace(
            signers[TENANTS[0].id], kid="nobody-1", algorithm="EdDSA", key=ed25519.Ed25519PrivateKey.generate()
        )
        self._topics = topics
        self._kinds, self._weights = list(shares), list(shares.values())
        self._recent: deque[Draft] = deque(maxlen=_RECENT)
        self._priced: deque[tuple[Sent, dict[str, Any]]] = deque(maxlen=_PRICED)
        self._number = 0

    def next(self) -> Draft:
        """The next one to be sent."""
        kind = self._chance.choices(self._kinds, self._weights)[0]
        if (kind in _AGAIN and not self._recent) or (kind == "wanted" and not self._priced):
            kind = "valid"
        self._number += 1
        draft = self._again(kind) if kind in _AGAIN or kind == "wanted" else self._new(kind)
        if kind in ("valid", "misplaced", "keyed", "hurried", "poison", "wanted"):
            self._recent.append(draft)
        return draft

    def _new(self, kind: SentKind) -> Draft:
        tenant = self._chance.choices([one.id for one in TENANTS], [one.share for one in TENANTS])[0]
        if kind in ("cancel_unknown", "delete_unknown"):
            return self._about(kind, tenant, new_id())
        key = f"order-{self._chance.randrange(_KEYS)}" if kind == "keyed" else None
        body = self._body(kind)
        if kind != "dry_run":
            return self._draft(kind, tenant, new_id(), body, key=key)
        draft = self._draft(kind, tenant, new_id(), body | {"dry_run": True})
        self._priced.append((draft.sent, body))
        return draft

    def _again(self, kind: SentKind) -> Draft:
        if kind == "cancel":
            # Mostly one that is under way; of the older ones most have ended.
            reach = _JUST_NOW if self._chance.random() < 0.7 else _RECENT
            target = self._recent[-1 - self._chance.randrange(min(reach, len(self._recent)))].sent
            return self._about(kind, target.tenant, target.event_id)
        if kind == "delete":
            # Mostly one that has ended: one of the older half.
            newest = self._chance.random() < 0.2
            target = self._recent[-1 if newest else self._chance.randrange((len(self._recent) + 1) // 2)].sent
            return self._about(kind, target.tenant, target.event_id)
        if kind == "wanted":
            priced, body = self._priced.popleft()
            return self._draft(kind, priced.tenant, priced.event_id, body)
        earlier = self._chance.choice(self._recent)
        sent = earlier.sent
        if kind == "conflict":
            return self._draft(kind, sent.tenant, sent.event_id, self._body("valid"))
        # The same bytes, as a client sends them that did not hear the acknowledgement, or whoever has captured them.
        again = sent.model_copy(update={"n": self._number, "kind": kind})
        return Draft(again, earlier.record._replace(headers=self._numbered(earlier.record.headers)))

    def _body(self, kind: SentKind) -> dict[str, Any]:
        chance = self._chance
        body: dict[str, Any] = {
            "prompt": f"{DEADLY_PROMPT} {self._number}" if kind == "poison" else f"number {self._number}",
            "model": MODEL,
            "images": chance.choice([1, 1, 1, 2, 3]),
            "steps": chance.choice([2, 4, 4, 6]),
            "format": chance.choice(["png", "png", "jpeg", "webp"]),
            "priority": chance.choice(["low", "normal", "normal", "high"]),
            "metadata": {"n": str(self._number)},
        }
        if kind != "poison" and chance.random() < 0.1:
            # Few enough prompts and seeds that some are asked for again.
            body |= {"prompt": "one of a few", "seed": chance.randrange(_SEEDS), "images": 1, "steps": 4}
        if kind == "invalid":
            body |= chance.choice([{"prompt": "  "}, {"images": 99}, {"colour": "red"}, {"model": "nowhere"}])
        if kind in ("too_late", "hurried"):
            within = timedelta(seconds=-60 if kind == "too_late" else chance.uniform(0.2, 4.0))
            body["deadline"] = (datetime.now(UTC) + within).isoformat()
        return body

    def _about(self, kind: SentKind, tenant: str, about: str) -> Draft:
        return self._draft(kind, tenant, new_id(), {"request_id": about}, about=about)

    def _draft(
        self,
        kind: SentKind,
        tenant: str,
        event_id: str,
        content: dict[str, Any],
        *,
        key: str | None = None,
        about: str | None = None,
    ) -> Draft:
        data = json.dumps(content).encode()
        asked = CancelRequest if kind in CANCELS else DeleteRequest if kind in DELETES else GenerationRequest
        signer = self._stranger if kind == "unknown_key" else self._signers[tenant]
        token: str | None = signer.sign(
            tenant=tenant,
            event_type=asked.TYPE,
            event_id=event_id,
            body=data + b" " if kind == "changed_body" else data,
            now_s=time.time(),
            idempotency_key=key,
        )
        if kind == "bad_signature" and token is not None:
            token = f"{token.rpartition('.')[0]}.{secrets.token_urlsafe(64)}"
        envelope = Envelope(
            id=event_id,
            type=asked.TYPE,
            source="chaos",
            data=b"\x00\xff garbage" if kind == "garbage" else data,
            signature=None if kind in ("unsigned", "garbage") else token,
            extensions={} if key is None else {IDEMPOTENCY_KEY: key},
        )
        headers = self._numbered(() if kind == "garbage" else envelope.headers())
        partition = partition_of(tenant.encode(), PARTITIONS)
        if kind == "misplaced" or (kind in ("cancel", "delete", "dry_run") and self._chance.random() < 0.2):
            partition = (partition + self._chance.randrange(1, PARTITIONS)) % PARTITIONS
        return Draft(
            Sent(
                n=self._number, kind=kind, tenant=tenant, event_id=event_id, partition=partition, about=about, key=key
            ),
            Outgoing(self._topics.requests, envelope.data, tenant.encode(), headers, partition),
        )

    def _numbered(self, headers: tuple[tuple[str, bytes | None], ...]) -> tuple[tuple[str, bytes | None], ...]:
        kept = tuple(header for header in headers if header[0] != NUMBER_HEADER)
        return (*kept, (NUMBER_HEADER, str(self._number).encode()))

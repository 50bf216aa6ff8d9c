"""A model of keys, results and deletes that keeps everything: each question is answered by going through all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from tests.consumer.admission.world import NOON_MS, neighbours

TENANTS = neighbours(2)
HOUR_MS = 3_600_000
REMEMBERED_MS = 72 * HOUR_MS
LEASE_MS = 60_000
DAY_MILLIUNITS = 12_000
CACHED = Decimal("0.25")
FLEETS: dict[str, dict[str, dict[str, str]]] = {
    "gone": {},
    "idle": {"w": {}},
    "one": {"w": {"m": "r1"}, "v": {}},
    "other": {"w": {"m": "r2"}},
    "two": {"w": {"m": "r1"}, "v": {"m": "r2"}},
}

Body = tuple[int, str, int | None, str]
"""Images, prompt, seed, priority."""


@dataclass
class Asked:
    """One accepted request."""

    who: str
    name: str
    key: str | None
    body: Body
    day: str
    held: int
    settled: int = 0
    end: str | None = None
    ended_ms: int = 0
    revision: str | None = None
    """Of the weights that made its result, while that may answer another request."""


@dataclass
class Out:
    """A delete that nobody has reported."""

    who: str
    target: str
    wanted: list[str]
    sent_ms: int


@dataclass
class Model:
    asked: list[Asked] = field(default_factory=list)
    out: list[Out] = field(default_factory=list)
    now_ms: int = NOON_MS
    fleet: str = "one"

    def remembered(self, who: str) -> list[Asked]:
        return [
            one
            for one in self.asked
            if one.who == who and (one.end is None or self.now_ms < one.ended_ms + REMEMBERED_MS)
        ]

    def known(self, who: str, name: str) -> Asked | None:
        return next((one for one in self.remembered(who) if one.name == name), None)

    def under(self, who: str, key: str | None) -> Asked | None:
        return next((one for one in self.remembered(who) if key is not None and one.key == key), None)

    def made(self, who: str, body: Body, revision: str) -> Asked | None:
        return next(
            (one for one in self.remembered(who) if one.revision == revision and one.body[:3] == body[:3]), None
        )

    def hit(self, who: str, body: Body) -> Asked | None:
        reported = {models["m"] for models in FLEETS[self.fleet].values() if "m" in models}
        return self.made(who, body, reported.pop()) if body[2] is not None and len(reported) == 1 else None

    def used(self, who: str, day: str) -> int:
        return sum(
            one.held if one.end is None else one.settled for one in self.asked if (one.who, one.day) == (who, day)
        )

    def today(self) -> str:
        return datetime.fromtimestamp(self.now_ms / 1000, tz=UTC).date().isoformat()

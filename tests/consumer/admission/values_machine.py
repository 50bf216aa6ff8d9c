"""A partition and the model of its values side by side; what it books and remembers is compared after each step."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumer.admission.fleet_view import NO_FLEET
from consumer.admission.keys import RequestKey
from consumer.admission.state import OpenRequest
from schemas.ids import time_of
from tests.consumer.admission.values_model import CACHED, DAY_MILLIUNITS, FLEETS, HOUR_MS, TENANTS, Model
from tests.consumer.admission.world import TOPICS, World, fleet_of, request_id, rules, tenant
from transport.records import Record


class ValuesMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        budget = Decimal(DAY_MILLIUNITS) / 1000
        who = [tenant(name, units_per_day=budget) for name in TENANTS]
        who = [one.model_copy(update={"cached_price_factor": CACHED}) for one in who]
        self.world = World(rules(*who, partition=1, window=3))
        self.model = Model()
        self.numbers = 0
        self.entries: Counter[tuple[str, str, str]] = Counter()
        self.sums: Counter[tuple[str, str, str]] = Counter()
        self.ids: Counter[str] = Counter()

    def step(self, *records: Record) -> list[dict[str, Any]]:
        workers = FLEETS[self.model.fleet]
        self.world.fleet = fleet_of(self.world.now_ms, **workers) if workers else NO_FLEET
        before = len(self.world.said)
        said = self.world.take(*records)
        assert self.world.batches[-1].blamed == []
        public = [out for out in self.world.said[before:] if out.topic in (TOPICS.results, TOPICS.usage)]
        self.ids.update(str(dict(out.headers)["ce_id"]) for out in public)
        for entry in said:
            if entry["sent_to"] == "usage":
                self.book(entry)
        return said

    def book(self, entry: dict[str, Any]) -> None:
        """Each entry once, and its balances are what the entries so far add up to, where it is posted."""
        who, kind = entry["tenant"], entry["kind"].removeprefix("usage.")
        self.entries[who, entry["request_id"], kind] += 1
        for balance in (entry["day"], entry["month"]):
            period = balance["period"]
            self.sums[who, period, kind] += entry["milliunits"]
            held, settled, refunded = (self.sums[who, period, name] for name in ("held", "settled", "refunded"))
            assert [balance[name] for name in ("held", "settled", "refunded", "outstanding")] == [
                held,
                settled,
                refunded,
                held - settled - refunded,
            ]

    def is_young(self, name: str) -> bool:
        """Whether an event with this id would still be read."""
        return self.model.now_ms - time_of(name) <= 24 * HOUR_MS

    def new_id(self) -> str:
        self.numbers += 1
        return request_id(self.numbers, self.world.now_ms)

    @rule()
    def crash(self) -> None:
        if not self.world.ledger:
            return
        before = self.world.state
        self.world.restart()
        after = self.world.state
        assert after.requests == before.requests
        assert after.accounts == before.accounts
        assert after.deletions.content() == before.deletions.content()

    @invariant()
    def it_remembers_what_the_model_does(self) -> None:
        if not hasattr(self, "model"):
            return
        mine = {RequestKey(one.who, one.name): one.end for who in TENANTS for one in self.model.remembered(who)}
        theirs = {
            key: None if isinstance(one, OpenRequest) else one.state for key, one in self.world.state.requests.items()
        }
        assert mine == theirs

    @invariant()
    def every_entry_and_every_event_is_there_once(self) -> None:
        if not hasattr(self, "model"):
            return
        assert set(self.entries.values()) <= {1}
        assert set(self.ids.values()) <= {1}
        for one in self.model.asked:
            assert self.entries[one.who, one.name, "held"] == 1

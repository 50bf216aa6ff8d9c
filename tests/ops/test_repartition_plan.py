"""Where everything goes when the number of partitions changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from ops.repartition.plan import Book, Marks, Times, home_of, leaving, offsets_after, placed
from tests.consumer.admission.world import World, neighbours, request_id, rules, succeeded, tenant
from transport.partitioning import partition_of

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


@given(st.lists(NAMES, unique=True, max_size=30), st.integers(1, 12), st.integers(1, 12))
def test_every_key_has_one_home_and_only_what_is_away_from_it_leaves(names: list[str], was: int, more: int) -> None:
    to = was + more
    keys = [f"{kind}/{name}{rest}".encode() for name in names for kind, rest in (("account", ""), ("request", "/id"))]
    for number in range(was):
        here = [key for key in keys if home_of(key, was) == number]
        book = Book(number, dict.fromkeys([*here, b"__init", b"__offsets"], b"{}"))
        away = dict(leaving(book, to))
        assert all(home == partition_of(key.split(b"/")[1], to) != number for key, home in away.items())
        assert all(partition_of(key.split(b"/")[1], to) == number for key in here if key not in away)
        assert not {b"__init", b"__offsets"} & away.keys()


def test_a_tenant_keeps_its_lead_over_the_turn_of_its_partition() -> None:
    rest = {"days": {"2026-11-21": {"held": 5}}, "later": [1]}
    account = to_json({"turn": 1_250, "turns": {"default": 1_250, "big": 40, "new": 7}, **rest})
    before, after = Times({"default": 1_000, "big": 60}, 1_000), Times({"default": 70, "big": 500}, 500)
    moved = from_json(placed(b"account/acme", account, before=before, after=after))
    assert moved == {"turn": 750, "turns": {"default": 320, "big": 500, "new": 7}, **rest}
    # Of a release that knew no pools.
    old = from_json(placed(b"account/acme", to_json({"turn": 1_250}), before=before, after=after))
    assert old == {"turn": 750}
    assert placed(b"request/acme/1", account, before=before, after=after) == account


def test_a_new_partition_begins_at_the_beginning_and_knows_the_newest_tenants_file() -> None:
    highest = Marks(sequence=9, clock_ms=5_000, tenants_version=4)
    new = from_json(offsets_after(Book(5, {}), highest))
    assert new["next"] == {"requests": 0, "rerouted": 0, "outcomes": 0}
    assert (new["sequence"], new["clock_ms"], new["tenants_version"], new["times"]) == (9, 5_000, 4, {})
    old = {"next": {"requests": 7}, "sequence": 1, "clock_ms": 6_000, "turn": 2, "tenants_version": 3}
    after = from_json(offsets_after(Book(0, {b"__offsets": to_json(old)}), highest))
    assert after == {**old, "sequence": 9, "tenants_version": 4}


def test_every_record_of_the_ledger_names_its_tenant_where_the_plan_looks_for_it() -> None:
    """A kind of record that is added one day must move with its tenant."""
    acme, bolt = neighbours(2)
    world = World(rules(tenant(acme), tenant(bolt)))
    world.take(world.request(1, who=acme), world.request(2, who=bolt, seed=5))
    world.take(world.outcome(succeeded(request_id(2), who=bolt)))
    kinds = {key.split(b"/")[0] for key in world.ledger if not key.startswith(b"__")}
    assert kinds >= {b"account", b"request"}
    for key in world.ledger:
        assert home_of(key, 7) in (None, partition_of(acme.encode(), 7), partition_of(bolt.encode(), 7))

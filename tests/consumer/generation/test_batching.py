"""Which pictures run together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.generation.batching import PASSED_AT_MOST, Batcher, BatchKey, Piece, batch_key
from schemas.requests import Adapter
from tests.consumer.generation.harness import parameters

SMALL = batch_key(parameters())
LARGE = batch_key(parameters(width=128))


def batcher(budget: int = 4) -> Batcher[str]:
    return Batcher(lambda _: budget)


def taken(of: Batcher[str]) -> list[str]:
    found = of.next()
    assert found is not None
    return [f"{piece.owner}{piece.index}" for piece in found[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"width": 128},
        {"height": 128},
        {"steps": 5},
        {"guidance": 2.0},
        {"negative_prompt": "blue"},
        {"adapters": [Adapter(name="lora", scale=0.5)]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_may_not_share_a_batch(change: dict[str, object]) -> None:
    assert batch_key(parameters(**change)) != SMALL


@pytest.mark.parametrize("change", [{"prompt": "x"}, {"seed": 1}, {"images": 3}, {"format": "webp"}, {"quality": 3}])
def test_what_may_share_a_batch(change: dict[str, object]) -> None:
    assert batch_key(parameters(**change)) == SMALL


def test_one_that_waits_alone_leaves_at_once() -> None:
    waiting = batcher()
    waiting.add("a", SMALL, range(1))
    assert taken(waiting) == ["a0"]
    assert waiting.next() is None


def test_the_oldest_leads_and_is_joined_by_its_kind() -> None:
    waiting = batcher()
    waiting.add("a", SMALL, range(1))
    waiting.add("b", LARGE, range(2))
    waiting.add("c", SMALL, range(2))
    assert taken(waiting) == ["a0", "c0", "c1"]
    assert taken(waiting) == ["b0", "b1"]


def test_a_job_beyond_the_budget_is_split_and_its_rest_leads() -> None:
    waiting = batcher()
    waiting.add("a", SMALL, range(6))
    waiting.add("b", SMALL, range(1))
    assert taken(waiting) == ["a0", "a1", "a2", "a3"]
    assert taken(waiting) == ["a4", "a5", "b0"]


def test_the_loaded_model_goes_first_and_no_model_is_passed_for_ever() -> None:
    cold, warm = batch_key(parameters(model="cold")), batch_key(parameters(model="warm"))
    waiting = batcher(budget=1)
    for name in "abcdef":
        waiting.add(f"cold-{name}", cold, range(1))
        waiting.add(f"warm-{name}", warm, range(1))
    led = []
    loaded = "warm"
    while (found := waiting.next({loaded})) is not None:
        loaded = found[0].model
        led.append(loaded)
    assert led == ["warm"] * PASSED_AT_MOST + ["cold"] * 6 + ["warm"] * 2


def test_without_a_loaded_model_that_is_wanted_the_oldest_leads() -> None:
    waiting = batcher()
    waiting.add("a", SMALL, range(1))
    waiting.add("b", batch_key(parameters(model="other")), range(1))
    assert waiting.next({"unasked"}) == (SMALL, [Piece("a", 0)])


def test_what_did_not_fit_is_remembered_for_the_model_and_the_size() -> None:
    waiting = batcher(budget=8)
    waiting.lower(SMALL, 3)
    assert waiting.room(batch_key(parameters(steps=9, guidance=2.0))) == 3
    assert waiting.room(LARGE) == waiting.room(batch_key(parameters(model="other"))) == 8


def test_alone_means_without_others() -> None:
    waiting = batcher()
    waiting.add("a", SMALL, range(2))
    waiting.add("b", SMALL, range(1), alone=True)
    waiting.add("c", SMALL, range(1))
    assert taken(waiting) == ["a0", "a1", "c0"]
    assert taken(waiting) == ["b0"]


def test_what_is_put_back_goes_first() -> None:
    waiting = batcher()
    waiting.add("a", LARGE, range(1))
    waiting.put_back("b", SMALL, [2, 3], alone=True)
    assert taken(waiting) == ["b2", "b3"]


def test_a_budget_that_was_too_large_is_lowered_for_its_kind_only() -> None:
    waiting = batcher()
    waiting.lower(SMALL, 1)
    waiting.add("a", SMALL, range(2))
    waiting.add("b", LARGE, range(4))
    assert taken(waiting) == ["a0"]
    waiting.remove("a")
    assert taken(waiting) == ["b0", "b1", "b2", "b3"]


@given(
    jobs=st.lists(st.tuples(st.sampled_from([SMALL, LARGE]), st.integers(1, 10), st.booleans()), max_size=20),
    budget=st.integers(1, 6),
)
def test_every_picture_leaves_once_in_order_and_never_in_bad_company(
    jobs: list[tuple[BatchKey, int, bool]], budget: int
) -> None:
    waiting: Batcher[int] = Batcher(lambda _: budget)
    for owner, (key, images, alone) in enumerate(jobs):
        waiting.add(owner, key, range(images), alone=alone)
    left: list[Piece[int]] = []
    first_seen: list[int] = []
    while (batch := waiting.next()) is not None:
        key, pieces = batch
        owners = {piece.owner for piece in pieces}
        assert 1 <= len(pieces) <= budget
        assert {jobs[owner][0] for owner in owners} == {key}
        assert len(owners) == 1 or not any(jobs[owner][2] for owner in owners)
        still = [owner for owner in range(len(jobs)) if owner not in first_seen]
        if min(owners) in still:
            assert min(owners) == still[0], "the oldest leads"
        first_seen += [owner for owner in sorted(owners) if owner not in first_seen]
        left += pieces
    wanted = Counter((owner, index) for owner, (_, images, _) in enumerate(jobs) for index in range(images))
    assert Counter((piece.owner, piece.index) for piece in left) == wanted
    for owner, (_, images, _) in enumerate(jobs):
        assert [piece.index for piece in left if piece.owner == owner] == list(range(images))


def test_what_runs_continuously_shares_a_batch_whatever_its_steps() -> None:
    keys = [batch_key(parameters(**change)) for change in ({}, {"steps": 9}, {"guidance": 3.0, "negative_prompt": "x"})]
    assert len({key.without_steps() for key in keys}) == 1
    assert LARGE.without_steps() != SMALL.without_steps()
    assert SMALL.without_steps().continuous
    assert not SMALL.continuous


def test_more_joins_while_the_oldest_is_of_the_kind_that_runs() -> None:
    batcher: Batcher[str] = Batcher(lambda _: 4)
    small, large = SMALL.without_steps(), LARGE.without_steps()
    batcher.add("a", small, range(2))
    batcher.add("b", large, range(1))
    batcher.add("c", small, range(3))
    assert batcher.more(small, 0) == []
    assert batcher.more(small, 3) == [Piece("a", 0), Piece("a", 1), Piece("c", 0)]
    # The oldest is another's now: it has its turn when what runs has ended.
    assert batcher.more(small, 3) == []
    assert batcher.next() == (large, [Piece("b", 0)])
    assert batcher.more(small, 8) == [Piece("c", 1), Piece("c", 2)]
    assert batcher.more(small, 8) == []


def test_one_that_runs_alone_joins_nobody() -> None:
    batcher: Batcher[str] = Batcher(lambda _: 4)
    key = SMALL.without_steps()
    batcher.add("a", key, range(1), alone=True)
    batcher.add("b", key, range(1))
    assert batcher.more(key, 4) == []
    assert batcher.next() == (key, [Piece("a", 0)])
    assert batcher.more(key, 4) == [Piece("b", 0)]

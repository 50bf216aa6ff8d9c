"""What may be committed, against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.generation.offsets import Offsets, Token


class OffsetsAgainstAModel(RuleBasedStateMachine):
    """Two partitions that come and go; jobs that end in any order; commits that are lost or not."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: Offsets[str] = Offsets()
        self.tokens: list[Token[str]] = []
        self.owned: dict[str, int] = {}
        """Partition → where reading began in this stretch of ownership."""
        self.delivered: dict[str, dict[int, bool]] = {}
        """Partition → offset → done, in this stretch."""
        self.committed: dict[str, int] = {"a": 0, "b": 0}

    @initialize()
    def begin(self) -> None:
        self.assign("a")

    def assign(self, partition: str) -> None:
        self.offsets.assign(partition, self.committed[partition])
        self.owned[partition] = self.committed[partition]
        self.delivered[partition] = {}

    @rule(partition=st.sampled_from("ab"))
    def comes(self, partition: str) -> None:
        self.assign(partition)

    @rule(partition=st.sampled_from("ab"))
    def goes(self, partition: str) -> None:
        self.offsets.revoke([partition])
        self.owned.pop(partition, None)

    @rule(partition=st.sampled_from("ab"), gap=st.integers(0, 3))
    def delivers(self, partition: str, gap: int) -> None:
        offset = max([self.owned.get(partition, 0) - 1, *self.delivered.get(partition, {})]) + 1 + gap
        token = self.offsets.deliver(partition, offset)
        if partition not in self.owned:
            assert token is None
            return
        assert token is not None
        self.delivered[partition][offset] = False
        self.tokens.append(token)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.tokens))
        live = self.offsets.live(token)
        self.offsets.complete(token)
        if live:
            self.delivered[token.partition][token.offset] = True

    @rule()
    def commits(self) -> None:
        due = self.offsets.due()
        for partition, offset in due.items():
            assert offset > self.committed[partition], "never back, and never for nothing"
        self.offsets.committed(due)
        self.committed |= due
        assert self.offsets.due() == {}

    @rule()
    def commit_is_lost(self) -> None:
        assert self.offsets.due() == self.offsets.due()

    @invariant()
    def nothing_undone_is_passed(self) -> None:
        for partition, offset in self.offsets.due().items():
            assert partition in self.owned
            records = self.delivered[partition]
            assert all(done for at, done in records.items() if at < offset)
            assert offset == self.brute_force(partition)
        for partition in self.owned:
            if partition not in self.offsets.due():
                assert self.brute_force(partition) <= self.committed[partition]
        assert self.offsets.owned() == frozenset(self.owned)

    def brute_force(self, partition: str) -> int:
        records = self.delivered[partition]
        undone = [at for at, done in records.items() if not done]
        return min(undone) if undone else max([self.owned[partition] - 1, *records]) + 1


TestOffsetsAgainstAModel = OffsetsAgainstAModel.TestCase


def test_a_token_of_an_earlier_stretch_completes_nothing() -> None:
    offsets: Offsets[str] = Offsets()
    offsets.assign("a", 5)
    old = offsets.deliver("a", 5)
    assert old is not None
    offsets.revoke(["a"])
    offsets.assign("a", 5)
    new = offsets.deliver("a", 5)
    assert new is not None
    offsets.complete(old)
    assert offsets.due() == {}
    assert not offsets.live(old)
    offsets.complete(new)
    assert offsets.due() == {"a": 6}


def test_a_reader_that_goes_back_by_itself_is_found_out() -> None:
    offsets: Offsets[str] = Offsets()
    offsets.assign("a", 5)
    offsets.deliver("a", 7)
    with pytest.raises(ValueError, match="delivered after 7"):
        offsets.deliver("a", 7)

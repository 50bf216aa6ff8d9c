"""What waits for its batch is bounded in number and in bytes."""

from __future__ import annotations

from consumer.admission.inbox import BATCH_BYTES, Inbox
from transport.records import Record


def records(count: int, size: int = 10) -> list[Record]:
    return [Record("t", 0, offset, 0, None, b"x" * size, ()) for offset in range(count)]


def test_batches_come_in_order_and_end() -> None:
    inbox = Inbox(4)
    inbox.add(records(10))
    taken = [inbox.take() for _ in range(4)]
    assert [len(batch) for batch in taken] == [4, 4, 2, 0]
    assert [record.offset for batch in taken for record in batch] == list(range(10))


def test_large_records_make_small_batches() -> None:
    inbox = Inbox(500)
    inbox.add(records(60, 1_000_000))
    sizes = []
    while batch := inbox.take():
        sizes.append(len(batch))
    assert sizes == [9, 9, 9, 9, 9, 9, 6]
    assert BATCH_BYTES + 1_000_000 > 9 * 1_000_000


def test_one_record_is_always_taken() -> None:
    inbox = Inbox(1)
    inbox.add(records(1, BATCH_BYTES * 2))
    assert len(inbox.take()) == 1


def test_full_and_room_leave_a_gap_between_them() -> None:
    inbox = Inbox(10)
    inbox.add(records(40))
    assert not inbox.is_full()
    inbox.add(records(1))
    assert inbox.is_full()
    while not inbox.has_room():
        assert inbox.take()
    assert 20 < len(inbox) <= 30


def test_bytes_alone_make_it_full() -> None:
    inbox = Inbox(500)
    inbox.add(records(5, BATCH_BYTES))
    assert inbox.is_full()
    inbox.clear()
    assert inbox.has_room()
    assert not inbox.is_full()
    assert inbox.take() == []


def test_a_whole_batch_waits_for_no_more() -> None:
    inbox = Inbox(10)
    inbox.add(records(9))
    assert not inbox.has_batch()
    inbox.add(records(1))
    assert inbox.has_batch()
    few = Inbox(10)
    few.add(records(1, BATCH_BYTES))
    assert few.has_batch()

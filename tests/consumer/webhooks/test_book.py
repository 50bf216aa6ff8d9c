"""The memory of a partition: what is written makes it again, and nothing is lost or kept for ever."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from consumer.webhooks.book import Answer, Book, target_of
from consumer.webhooks.owed import Owed
from consumer.webhooks.schedule import Schedule
from schemas.endpoints import Endpoints, Target
from schemas.envelope import Envelope
from schemas.ids import event_id, new_id
from schemas.topics import Topics
from schemas.webhook_entries import RequestWebhooks, Secret
from schemas.webhooks import RequestWebhook
from transport.records import Outgoing, Record

TOPICS = Topics("easel")
SCHEDULE = Schedule(100.0, (1.0, 10.0))
TYPE = "easel.generation.succeeded.v1"
NAMES = ("a", "b")


def endpoints(version: int = 1, names: tuple[str, ...] = NAMES) -> Endpoints:
    return Endpoints(
        version,
        {"acme": {name: Target(f"https://{name}", frozenset({"succeeded"}), (b"x" * 24,)) for name in names}},
        {},
    )


def event(offset: int, *, topic: str = TOPICS.results, at_ms: int = 10, **headers: bytes) -> Record:
    request_id = new_id()
    envelope = Envelope(event_id("acme", request_id, TYPE), TYPE, "easel", b'{"x":1}', subject=request_id)
    return Record(topic, 0, offset, at_ms, b"acme", envelope.data, (*envelope.headers(), *headers.items()))


class Log:
    """The topic: every record that was written, and the book that they make."""

    def __init__(self, **limits: int) -> None:
        self.limits = {"per_endpoint": 2, "most": 50, **limits}
        self.written: list[Outgoing] = []
        self.letters: Counter[bytes | None] = Counter()
        self.book = Book(TOPICS, 0, SCHEDULE, **self.limits)

    def write(self, outs: list[Outgoing]) -> None:
        for out in outs:
            if out.topic == TOPICS.dead_letters:
                self.letters[dict(out.headers).get("easel_type")] += 1
            else:
                assert out.topic == TOPICS.webhooks
                self.written.append(out)

    def again(self) -> Book:
        book = Book(TOPICS, 0, SCHEDULE, **self.limits)
        # As the cleaner may leave it: the last record of each key.
        last: dict[bytes | None, Outgoing] = {out.key: out for out in self.written}
        book.restore([Record(out.topic, 0, n, 0, out.key, out.value, ()) for n, out in enumerate(last.values())])
        book.restored()
        return book


def content(book: Book) -> Any:
    return book.owed, book.disabled, book.next_offsets


@pytest.mark.parametrize("seed", range(30))
def test_what_is_written_makes_the_book_again_and_every_event_ends_once(seed: int) -> None:
    draw = random.Random(seed)
    log = Log(most=draw.choice([3, 50]))
    now, offset, version = 1_000, 0, 1
    ended: Counter[bytes] = Counter()
    owed_ever: set[bytes] = set()
    running: list[Owed] = []
    for _ in range(300):
        step = draw.random()
        file = endpoints(version)
        if step < 0.25:
            log.write([*log.book.read(event(offset), file, now), log.book.offsets()])
            offset += draw.choice([1, 1, 2])
            owed_ever |= log.book.owed.keys()
        elif step < 0.5:
            running += log.book.start(now)
        elif step < 0.85 and running:
            owed = running.pop(draw.randrange(len(running)))
            status = draw.choice([200, 200, 500, 500, 500, 410 if draw.random() < 0.1 else 404, None])
            outs, end = log.book.settle(owed, Answer(status, "said"), file, now)
            log.write(outs)
            ended.update([end.owed.key] if end else [])
        elif step < 0.9:
            now += draw.choice([100, 1_000, 20_000])
            log.book.look_over(file, now)
        elif step < 0.93:
            version += 1
        elif step < 0.96 and log.book.next_offsets:
            assert content(log.again()) == content(log.book)
            log.book, running = log.again(), []
        for outs, end in log.book.give_up(most=3):
            log.write(outs)
            ended.update([end.owed.key] if end else [])
    file = endpoints(version)
    for _ in range(200):
        now += 5_000
        log.book.look_over(file, now)
        for outs, end in log.book.give_up(most=100):
            log.write(outs)
            ended.update([end.owed.key] if end else [])
    assert log.book.owed == {}
    assert set(ended.values()) <= {1}
    assert set(ended) == owed_ever
    assert not log.again().owed


def test_a_broken_endpoint_is_asked_by_one_attempt_at_a_time() -> None:
    log = Log()
    for offset in range(20):
        log.book.read(event(offset), endpoints(names=("a",)), 0)
    failed, now = 0, 0
    while failed < 5:
        for owed in list(log.book.start(now)):
            log.book.settle(owed, Answer(503, "x"), endpoints(), now)
            failed += 1
    tried = failed
    for now in range(0, 60_000, 100):
        started = list(log.book.start(now))
        assert len(started) <= 1
        tried += len(started)
        for owed in started:
            log.book.settle(owed, Answer(503, "x"), endpoints(), now)
    assert tried < 5 + 10
    # It is back: all go at once, two at a time.
    now += 20_000
    [owed] = log.book.start(now)
    log.book.settle(owed, Answer(204, ""), endpoints(), now)
    assert len(list(log.book.start(now))) == 2


def test_a_dead_endpoint_takes_nothing_of_the_others_turns() -> None:
    log = Log()
    for offset in range(10):
        log.book.read(event(offset), endpoints(), 0)
    started = list(log.book.start(0))
    assert Counter(owed.endpoint for owed in started) == {"a": 2, "b": 2}
    for owed in started:
        if owed.endpoint == "b":
            log.book.settle(owed, Answer(200, ""), endpoints(), 0)
    assert [owed.endpoint for owed in log.book.start(0)] == ["b", "b"]


def test_a_dead_server_is_forgotten_with_the_last_that_was_for_it() -> None:
    log, now = Log(), 0
    for offset in range(6):
        log.book.read(event(offset), endpoints(names=("a",)), now)
    while log.book.owed:
        for owed in list(log.book.start(now)):
            log.write(log.book.settle(owed, Answer(503, "x"), endpoints(names=("a",)), now)[0])
        log.book.look_over(endpoints(names=("a",)), now)
        for outs, _ in log.book.give_up(most=100):
            log.write(outs)
        now += 100
    [(_, line)] = log.book.lines
    assert line.broken and line.closed_until_ms > now
    # A new event would still be held back by what is known of it.
    log.book.look_over(endpoints(names=("a",)), line.closed_until_ms - 1)
    assert list(log.book.lines)
    log.book.look_over(endpoints(names=("a",)), line.closed_until_ms)
    assert not list(log.book.lines)


def test_requests_own_urls_at_one_server_share_its_line() -> None:
    log = Log()
    file = Endpoints(1, {}, {"acme": (RequestWebhooks(hosts=("a", "b"), secrets=(Secret(secret_env="X"),)), (b"x",))})
    for offset in range(10):
        for host in "ab":
            hook = RequestWebhook(url=f"https://{host}/{offset}", events=("succeeded",)).model_dump_json()
            log.book.read(event(offset, ce_webhook=hook.encode()), file, 0)
    started = list(log.book.start(0))
    assert Counter(owed.destination[1] for owed in started) == {"=https://a": 2, "=https://b": 2}
    # That one of them is gone says nothing of the others.
    log.book.settle(started[0], Answer(410, "gone"), file, 0)
    assert log.book.give_up(most=100) == []
    assert len(log.book.owed) == 19 and log.book.disabled == {}


def test_what_was_read_before_is_not_owed_again() -> None:
    log = Log()
    record = event(0)
    assert len(log.book.read(record, endpoints(), 0)) == 2
    assert log.book.read(record, endpoints(), 0) == []


def test_what_is_older_than_the_stage_is_owed_to_nobody() -> None:
    log = Log()
    log.book.not_before_ms = 11
    assert log.book.read(event(0, at_ms=10), endpoints(), 20) == []
    assert log.book.next_offsets == {TOPICS.results: 1}
    assert log.book.read(event(1, at_ms=11), endpoints(), 20) != []


def test_what_is_no_event_is_passed_over() -> None:
    log = Log()
    for offset, (value, headers) in enumerate([(None, ()), (b"\xff", event(0).headers), (b"{}", ())]):
        record = Record(TOPICS.results, 0, offset, 10, b"acme", value, headers)
        assert log.book.read(record, endpoints(), 20) == []
    assert log.book.next_offsets == {TOPICS.results: 3}


def test_an_operators_wish_opens_a_disabled_endpoint() -> None:
    log = Log()
    log.book.read(event(0), endpoints(names=("a",)), 0)
    [owed] = log.book.start(0)
    log.write(log.book.settle(owed, Answer(410, "gone"), endpoints(), 0)[0])
    assert log.book.read(event(1), endpoints(names=("a",)), 0) == []
    again = event(0, topic=TOPICS.redeliveries, easel_endpoint=b"a")
    log.write(log.book.read(again, endpoints(names=("a",)), 0))
    assert [one.endpoint for one in log.book.start(0)] == ["a"]
    assert log.again().disabled == {}


def test_an_endpoint_that_was_taken_out_of_the_file_gets_nothing() -> None:
    log = Log()
    log.book.read(event(0), endpoints(), 0)
    owed = next(iter(log.book.owed.values()))
    assert target_of(owed, endpoints(names=())) is None

"""The client's repetitions are said now and then; everybody else's lines always."""

from __future__ import annotations

import logging
import time

import pytest

from transport.seldom import Seldom


def said(name: str, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "client.py", 7, message, args, None)


def test_the_client_repeats_itself_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    only = Seldom()
    lines = [said("aiokafka.conn", "Unable connect to node with id %s: %s", number, "refused") for number in range(50)]
    assert [only.filter(line) for line in lines] == [True] + [False] * 49
    assert only.filter(said("aiokafka.conn", "something else"))
    clock[0] += 31
    assert only.filter(lines[0])


def test_others_are_left_alone() -> None:
    only = Seldom()
    assert all(only.filter(said("consumer.admission", "the same")) for _ in range(5))

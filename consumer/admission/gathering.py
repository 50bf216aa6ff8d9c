"""How long a busy partition waits for more records to share its next transaction.

A transaction costs the broker, and the client, as much for one record as for hundreds: some 4 ms of processor time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from transport.records import Record

__all__ = ["Pause", "pause_after"]

_BUSY_OUTCOMES = 4
_OUTCOMES_S = 0.02
"""Where jobs end by the handful. Nobody's answer hangs on it."""

_ANY = 1 << 30

_BUSY_RECORDS = 3
_TIMES_AS_LONG = 3.0
_MOST_S = 0.03
"""Where as many come at once, whatever they are, the next ones wait until they are as many as were just decided and
have come since. Who asks again once answered is back after about the time that the answer took: all of them then share
one transaction, where they would else take turns with two. For those who come as they like the wait is short all the
same."""


class Pause(NamedTuple):
    """To wait for so many ``records``, but no longer than ``seconds``."""

    seconds: float
    records: int


def pause_after(
    records: Iterable[Record], outcomes: str, took_s: float, *, waiting: int = 0, letters: int = 0
) -> Pause | None:
    """The wait after ``records`` were decided and committed, which took ``took_s``; ``outcomes`` is a topic.

    ``waiting`` have come since. ``letters`` of what was committed are dead letters: a storm of forged requests makes
    nobody wait. None where nobody is to wait, as who comes alone never is.
    """
    topics = [record.topic for record in records]
    if topics.count(outcomes) >= _BUSY_OUTCOMES:
        return Pause(_OUTCOMES_S, _ANY)
    if len(topics) - letters < _BUSY_RECORDS:
        return None
    return Pause(min(took_s * _TIMES_AS_LONG, _MOST_S), len(topics) + waiting)

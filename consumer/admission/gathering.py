"""How long a busy partition waits for more records to share its next transaction.

A transaction costs the broker, and the client, as much for one record as for hundreds: some 4 ms of processor time.
"""

from __future__ import annotations

from collections.abc import Iterable

from transport.records import Record

__all__ = ["pause_after"]

_BUSY_OUTCOMES = 4
_OUTCOMES_S = 0.02
"""Where jobs end by the handful. Nobody's answer hangs on it."""

_BUSY_RECORDS = 3
_MOST_S = 0.02
"""Where as many come at once, whatever they are, the next ones wait as long as what came before them took: little where
there is time to spare, longer where there is none. Who comes alone waits for nobody."""


def pause_after(records: Iterable[Record], outcomes: str, took_s: float, *, letters: int = 0) -> float:
    """Seconds to wait after ``records`` were decided and committed, which took ``took_s``; ``outcomes`` is a topic.

    ``letters`` of what was committed are dead letters: a storm of forged requests makes nobody wait.
    """
    topics = [record.topic for record in records]
    if topics.count(outcomes) >= _BUSY_OUTCOMES:
        return _OUTCOMES_S
    return min(took_s, _MOST_S) if len(topics) - letters >= _BUSY_RECORDS else 0.0

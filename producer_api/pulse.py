"""Whether admission answers: without that, an API that has Kafka and all else can still do nothing for anyone."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pulse"]

_LATE_S = 10.0
_FORGOTTEN_S = 60.0
"""What is never answered, such as a request that went to the dead letters, must not be held against it for ever."""


class Pulse:
    """When something was asked and is due. Answers to anyone count, also to callers of other instances."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_since: float | None = None

    def asked(self) -> None:
        """Something was published that has to be answered."""
        now = self._clock()
        if self._due_since is None or now - self._due_since > _FORGOTTEN_S:
            self._due_since = now

    def answered(self) -> None:
        """Admission has answered something."""
        self._due_since = None

    @property
    def problem(self) -> str | None:
        """Says so when an answer is due and none has come for a while."""
        late_s = 0.0 if self._due_since is None else self._clock() - self._due_since
        if not _LATE_S < late_s < _FORGOTTEN_S:
            return None
        return f"admission has answered nothing for {late_s:.0f} s: does it run?"

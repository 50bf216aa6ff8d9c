"""What the clients repeat many times while a broker or a collector is away, said now and then instead."""

from __future__ import annotations

import logging
import time

__all__ = ["Seldom"]

_EVERY_S = 30.0
_CLIENTS = ("aiokafka", "opentelemetry", "transport.transaction_client")


class Seldom(logging.Filter):
    """Lets each message of the clients through every 30 s at most. It belongs on a handler, not on a logger."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_CLIENTS):
            return True
        # The template, not the text: the numbers in it differ each time.
        key = record.name, record.lineno, str(record.msg)[:80]
        now = time.monotonic()
        if now - self._said.get(key, -_EVERY_S) < _EVERY_S:
            return False
        if len(self._said) > 1_000:
            self._said.clear()
        self._said[key] = now
        return True

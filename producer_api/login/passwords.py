"""Checking a password: as slow for a name that nobody has as for one that somebody has, and never in the event loop."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

__all__ = ["MAX_PASSWORD_CHARS", "BusyError", "Passwords", "hashed"]

MAX_PASSWORD_CHARS = 1024
_THREADS = 2
"""Each check takes 64 MiB and a core for some 50 ms."""
_MOST_WAITING = 32


class BusyError(Exception):
    """More passwords wait to be checked than can be in reasonable time."""


def hashed(password: str) -> str:
    """The Argon2id hash of a password, with the library's parameters (RFC 9106, low memory) and a salt of its own."""
    return PasswordHasher().hash(password)


class Passwords:
    """Checks a few at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="easel-passwords")
        self._waiting = 0

    def require_room(self) -> None:
        """Raise ``BusyError`` when no other check could begin now."""
        if self._waiting >= _MOST_WAITING:
            raise BusyError

    async def fits(self, password: str, hash_: str | None) -> bool:
        """Whether the password has this hash; without one, after the same work, False. Raises ``BusyError``."""
        self.require_room()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _fits, password, hash_)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _fits(password: str, hash_: str | None) -> bool:
    try:
        PasswordHasher().verify(hash_ or _nobodys(), password)
    except VerificationError:
        return False
    return hash_ is not None


@lru_cache(maxsize=1)
def _nobodys() -> str:
    return hashed(secrets.token_urlsafe(16))

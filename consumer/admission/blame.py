"""Whose records raise exceptions: one tenant's may be odd, several tenants' at once mean that the program is wrong."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BadRelease", "Blame"]

_TENANTS = 3
_WITHIN_S = 60.0


class BadRelease(Exception):  # noqa: N818 - it names what happened
    """Records of several tenants raise exceptions: nothing more is thrown away."""


class Blame:
    """Remembers for a minute whose records raised an exception."""

    def __init__(self) -> None:
        self._tenants: dict[str, float] = {}

    def note(self, tenants: Iterable[str], now_s: float) -> None:
        """Raises ``BadRelease`` at the third tenant within a minute; call it before anything is committed."""
        self._tenants = {tenant: at for tenant, at in self._tenants.items() if now_s - at < _WITHIN_S}
        self._tenants.update(dict.fromkeys(tenants, now_s))
        if len(self._tenants) >= _TENANTS:
            raise BadRelease(
                f"records of {len(self._tenants)} tenants raised exceptions within a minute; nothing of this batch was "
                f"decided. Go back to the last good release; the log says where the exceptions were raised"
            )

"""Moments as people type them: so long ago, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ops.cli.terminal import CommandError, ExitCode

__all__ = ["clock", "moment"]

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment(text: str) -> datetime:
    """``90s``, ``10m``, ``2h``, ``7d`` ago; or ``2026-11-01`` (midnight UTC), or a time such as ``2026-11-01T08:30``.

    Raises ``CommandError``.
    """
    match = _DURATION.fullmatch(text)
    if match is not None:
        return datetime.now(tz=UTC) - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"--since {text[:40]!r} is not a time", "say 90s, 10m, 2h, 7d or 2026-11-01", code=ExitCode.USAGE
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(ms: int) -> str:
    """A time of the broker's, where the reader is."""
    return f"{datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone():%Y-%m-%d %H:%M:%S}"

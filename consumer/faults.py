"""Named places at which a process can be made to die, so that tests can show what a crash there leaves behind.

``EASEL_FAULT=generation.after_put`` exits hard the first time this point is reached, ``…:3`` the third.
The variable is read once; without it ``fault`` does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["EXIT_CODE", "POINTS", "VARIABLE", "fault"]

VARIABLE = "EASEL_FAULT"
EXIT_CODE = 86
"""Tells a planned death from every other."""

POINTS = frozenset(
    {
        "admission.before_send",
        "admission.before_offsets",
        "admission.before_commit",
        "admission.after_commit",
        "admission.after_fence",
        "admission.after_restore",
        "generation.before_started",
        "generation.after_started",
        "generation.before_put",
        "generation.after_put",
        "generation.before_manifest",
        "generation.after_manifest",
        "generation.before_outcome",
        "generation.after_outcome",
        "generation.before_canceled",
        "generation.after_canceled",
        "generation.before_delete",
        "generation.after_manifest_deleted",
        "generation.before_deleted",
        "generation.after_deleted",
        "generation.after_peer_ended",
        "generation.before_offset_commit",
        "repartition.after_mark",
        "repartition.after_growth",
        "repartition.after_copy",
        "repartition.after_commitment",
        "repartition.after_clearing",
        "repartition.after_finish",
        "webhooks.before_send",
        "webhooks.before_offsets",
        "webhooks.before_commit",
        "webhooks.after_commit",
        "webhooks.after_post",
        "rebuild.before_send",
        "rebuild.before_offsets",
        "rebuild.before_commit",
        "rebuild.after_commit",
    }
)


def _never(point: str, /) -> None:
    """No fault is armed."""


def _armed(setting: str) -> Callable[[str], None]:
    name, _, nth = setting.partition(":")
    if name not in POINTS or (nth and not nth.isdecimal()):
        raise ValueError(f"{VARIABLE}={setting!r}: expected POINT or POINT:NTH with POINT one of {sorted(POINTS)}")
    left = int(nth or 1)

    def hit(point: str, /) -> None:
        nonlocal left
        if point not in POINTS:
            raise ValueError(f"there is no fault point {point!r}")
        if point == name:
            left -= 1
            if left <= 0:
                # Not sys.exit: nothing may be flushed, closed or committed on the way out.
                os._exit(EXIT_CODE)

    return hit


_setting = os.environ.get(VARIABLE)
fault: Callable[[str], None] = _armed(_setting) if _setting else _never
"""Die here if this point is armed. Points are those of ``POINTS``."""

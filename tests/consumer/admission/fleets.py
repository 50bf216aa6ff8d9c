"""Workers and their reports, for tests of what admission does with them."""

from __future__ import annotations

from typing import Any

from consumer.admission.fleet_view import Fleet, Heard
from schemas.fleet import Heartbeat
from tests.consumer.admission.world import NOON_MS


def worker(name: str, at_ms: int = NOON_MS, **fields: Any) -> Heard:
    """A worker of the pool ``default`` that was heard at this time."""
    content = {"pool": "default", "partitions": [0], "ready": True, **fields}
    return Heard(Heartbeat(instance=name, stage="generation", **content), at_ms)


def peer(name: str, at_ms: int = NOON_MS, **demand: int) -> Heard:
    """An instance of admission that told these active weights: ``default_2=5`` is the pool's partition 2."""
    told = {key.replace("_", "/"): weight for key, weight in demand.items()}
    return Heard(Heartbeat(instance=name, stage="admission", ready=True, demand=told), at_ms)


def fleet(*heard: Heard) -> Fleet:
    return Fleet({one.beat.instance: one for one in heard})

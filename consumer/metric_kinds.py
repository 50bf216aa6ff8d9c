"""What a metric is: how it is counted, in which unit, under which labels, what it means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FAST_S", "IMAGES", "SLOW_S", "WAIT_S", "Definition", "counter", "gauge", "histogram"]

Kind = Literal["counter", "gauge", "histogram"]

FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SLOW_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
WAIT_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Fewer than the others: each tenant has its own."""
IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. ``remedy`` says what an operator does when it looks wrong."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    remedy: str
    buckets: tuple[float, ...] = ()


def counter(name: str, unit: str, labels: tuple[str, ...], meaning: str, remedy: str) -> Definition:
    """What only grows, while its process lives."""
    return Definition(name, "counter", unit, labels, meaning, remedy)


def gauge(name: str, unit: str, labels: tuple[str, ...], meaning: str, remedy: str) -> Definition:
    """What stands somewhere now."""
    return Definition(name, "gauge", unit, labels, meaning, remedy)


def histogram(
    name: str, buckets: tuple[float, ...], unit: str, meaning: str, remedy: str, *, labels: tuple[str, ...] = ()
) -> Definition:
    """How large each of many observations was."""
    return Definition(name, "histogram", unit, labels, meaning, remedy, buckets)

"""The size of a picture that is made from another, where the caller leaves it open."""

from __future__ import annotations

import math

from schemas.catalog import ModelCard

__all__ = ["fitted"]


def fitted(card: ModelCard, width: int, height: int) -> tuple[int, int]:
    """About the shape of the given picture, and about as many pixels as the model's own size, within its limits."""
    limits, own = card.limits, card.defaults
    scale = math.sqrt(own.width * own.height / (width * height))

    def side(length: int) -> int:
        steps = max(1, round(length * scale / limits.multiple_of))
        least = math.ceil(limits.min_side / limits.multiple_of)
        return min(max(steps, least), limits.max_side // limits.multiple_of) * limits.multiple_of

    found = side(width), side(height)
    too_many = limits.pixels is not None and found[0] * found[1] > limits.pixels
    return (own.width, own.height) if too_many else found

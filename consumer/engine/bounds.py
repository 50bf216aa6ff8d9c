"""What an engine may hand over: what nobody asked for is not to fill the worker's memory."""

from __future__ import annotations

from consumer.engine.contract import EngineError, Made, Missed, Shape
from schemas.errors import Code

__all__ = ["require_bounded"]

_MOST_TIMES = 4
"""A picture may be so many times as large as was asked for: some pipelines round its sides."""


def require_bounded(shape: Shape, result: Made | Missed) -> None:
    """Raises ``EngineError`` for a picture that is too large."""
    if isinstance(result, Made) and result.pixels.nbytes > _MOST_TIMES * shape.width * shape.height * 3:
        found = " x ".join(map(str, result.pixels.shape))
        wanted = f"{shape.height} x {shape.width} x 3"
        raise EngineError(
            Code.GENERATION_FAILED, f"the model's picture is too large: {found} values where {wanted} were asked for"
        )

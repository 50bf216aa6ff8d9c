"""The one event with a picture in it."""

from __future__ import annotations

from typing import ClassVar

from schemas.events import Event

__all__ = ["GenerationPreview"]


class GenerationPreview(Event):
    """How one of its pictures looks so far: small, blurred, and early on little but noise. Under 16 kB."""

    TYPE: ClassVar[str] = "easel.generation.preview.v1"
    attempt: int
    index: int
    """Of the picture."""
    step: int
    """Of this picture's ``steps``."""
    steps: int
    media_type: str = "image/jpeg"
    image_base64: str

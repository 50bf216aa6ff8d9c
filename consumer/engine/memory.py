"""What a loaded model takes of memory, and how many of its pictures fit beside it. Bytes throughout; no torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Footprint"]


@dataclass(frozen=True, slots=True)
class Footprint:
    """As measured when the model was loaded and warmed.

    A batch takes ``fixed + per_pixel x pixels`` beside the weights, its pictures' pixels summed: what a step and the
    decoder hold grows with both alike. Attention that holds its scores whole grows faster; an ``out_of_memory`` then
    says so.
    """

    weights: int = 0
    """Wherever they lie."""
    on_device: int = 0
    """The part of them that stays where the batches run; less than all where they are offloaded."""
    fixed: int = 0
    per_pixel: float = 0.0
    """0: not measured."""
    usable: int = 0
    """What there is for weights and batches together."""

    def most_images(self, pixels: int, models_bytes: int) -> int | None:
        """How many pictures of this size fit together, at least 1; None where nothing was measured.

        ``models_bytes``: set aside for the weights of all models that stay loaded.
        """
        if not self.usable or not self.per_pixel:
            return None
        left = self.usable - max(self.on_device, models_bytes) - self.fixed
        return max(1, int(left / (self.per_pixel * pixels)))

    def may_fit_alone(self, pixels: int) -> bool:
        """Whether so many pixels might fit together if no other model were loaded."""
        return self.on_device + self.fixed + self.per_pixel * pixels <= self.usable or not self.usable

"""Pipelines of the families that people serve, with random weights: structurally true, at a tiny or at the true size.

They draw noise. What they show is whether a family's pipeline runs the whole path, and, at the true size, how fast and
in how much memory.
"""

from __future__ import annotations

from ops.families.pipelines import FAMILIES, Family, Size, make_pipeline

__all__ = ["FAMILIES", "Family", "Size", "make_pipeline"]

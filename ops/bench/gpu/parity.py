"""One seed, one picture: how far a picture made in company is from the one made alone, on this GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from consumer.engine.contract import Batch, Item, Shape
from consumer.engine.diffusers import DiffusersEngine
from schemas.catalog import Defaults, ModelCard

__all__ = ["parity"]

_PROMPTS = (
    "a small red circle left of a large blue square on a white background",
    "a large green triangle on a yellow background",
    "a small purple star on a white background",
    "a large orange square right of a small green circle on a grey background",
)


def parity(
    folder: Path,
    *,
    side: int,
    steps: int,
    guidance: float,
    dtype: Literal["float32", "float16", "bfloat16"],
    device: str,
) -> dict[str, Any]:
    """The largest and the mean difference of values from 0 to 1: four in a batch, each alone, and alone on the CPU."""
    found: dict[str, Any] = {"folder": folder.name, "side": side, "steps": steps, "dtype": dtype}
    shape = Shape(side, side, steps, guidance)
    items = tuple(Item(str(n), prompt, seed=n) for n, prompt in enumerate(_PROMPTS))

    def rendered(on: str, *groups: tuple[Item, ...]) -> Any:
        engine = DiffusersEngine()
        engine.load(
            ModelCard(
                pipeline=folder,
                dtype="float32" if on == "cpu" else dtype,
                device=on,
                defaults=Defaults(width=side, height=side, steps=steps, guidance=guidance),
            )
        )
        made = [engine.render(Batch("", shape, group), lambda _: None, lambda _: False) for group in groups]
        engine.unload()
        return np.concatenate(made)

    together = rendered(device, items)
    again = rendered(device, items)
    alone = rendered(device, *((item,) for item in items))
    found["again"] = _difference(together, again)
    found["alone"] = _difference(together, alone)
    if side <= 128:
        found["cpu"] = _difference(together, rendered("cpu", items))
    return found


def _difference(one: Any, other: Any) -> dict[str, float]:
    apart = np.abs(one - other)
    return {"most": float(apart.max()), "mean": float(apart.mean())}

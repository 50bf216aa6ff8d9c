"""A training run that can stop at any moment: steps, checkpoints, a log of losses."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from ops.tiny_model.optim import Optimiser

__all__ = ["Run"]

_log = logging.getLogger(__name__)
_SAVE_SECONDS = 60.0
_LINE_SECONDS = 10.0


class Run:
    """One training under a folder: `NAME.pt` holds the newest state, `NAME.jsonl` a mean loss every 25 steps."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._checkpoint = folder / f"{name}.pt"
        self._losses = folder / f"{name}.jsonl"
        self._window: list[float] = []
        self._total = 0
        self._started = time.monotonic()
        self._done_at_start = 0
        self._line_at = 0.0

    def steps(self, total: int, model: nn.Module, optimiser: Optimiser) -> Iterator[int]:
        """Yield the steps that are still to do, after restoring the newest checkpoint if there is one.

        A checkpoint is written every minute and at the end, whole or not at all.
        """
        first = 0
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            model.load_state_dict(state["model"])
            optimiser.restore(state["optimiser"])
            first = int(state["step"])
        self._total, self._started, self._done_at_start = total, time.monotonic(), first
        saved = time.monotonic()
        for step in range(first, total):
            yield step
            if time.monotonic() - saved > _SAVE_SECONDS or step + 1 == total:
                self._save({"model": model.state_dict(), "optimiser": optimiser.state(), "step": step + 1})
                saved = time.monotonic()

    def _save(self, state: dict[str, object]) -> None:
        temporary = self._checkpoint.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self._checkpoint)

    def log(self, step: int, loss: float) -> None:
        """Remember a step's loss, and every ten seconds say where the run stands."""
        self._window.append(loss)
        if (step + 1) % 25:
            return
        mean = sum(self._window) / len(self._window)
        self._window.clear()
        with self._losses.open("a") as file:
            file.write(json.dumps({"step": step + 1, "loss": round(mean, 6)}) + "\n")
        now = time.monotonic()
        if now - self._line_at > _LINE_SECONDS:
            self._line_at = now
            pace = (now - self._started) / (step + 1 - self._done_at_start)
            left = pace * (self._total - step - 1)
            _log.info(
                "%s: step %d of %d, loss %.4f, %.3f s a step, %.0f s left",
                self.name, step + 1, self._total, mean, pace, left,
            )  # fmt: skip

    def losses(self) -> list[tuple[int, float]]:
        """All (step, mean loss) so far, as stored."""
        if not self._losses.exists():
            return []
        rows = (json.loads(line) for line in self._losses.read_text().splitlines())
        return [(row["step"], row["loss"]) for row in rows]

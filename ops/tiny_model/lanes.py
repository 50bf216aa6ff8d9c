"""Spreads a training step over CPU cores: a thread a core, each with its own rows of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Lanes"]

_T = TypeVar("_T")


class Lanes:
    """`count` threads, in each of which torch computes single-threaded.

    Torch's own threads meet in every operation, thousands of times a step; beside other work on the same cores each
    meeting waits for a turn, and a step was seen to take four times as long as on one core. Lanes meet once.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane", initializer=torch.set_num_threads,
                                        initargs=(1,))  # fmt: skip

    def map(self, work: Callable[[_T], object], items: Iterable[_T]) -> None:
        """Do `work` for each item; returns when all are done and raises what any of them raised."""
        for _ in self._pool.map(work, items):
            pass

    def backward(self, model: nn.Module, loss: Callable[[slice], Tensor], batch: int) -> float:
        """Put the gradients of the mean loss over a batch into `model` and return that loss.

        `loss(rows)` is the mean loss over some rows; it runs in several threads at once, under bfloat16 autocast.
        """
        params = [p for p in model.parameters() if p.requires_grad]
        edges = [round(i * batch / self.count) for i in range(self.count + 1)]
        parts = [slice(a, b) for a, b in pairwise(edges) if b > a]

        def one(rows: slice) -> tuple[float, Sequence[Tensor | None]]:
            # Without the cache: it is shared between threads, and so would be parts of their graphs.
            with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
                value = loss(rows) * ((rows.stop - rows.start) / batch)
            return value.item(), torch.autograd.grad(value, params, allow_unused=True)

        total = 0.0
        for value, gradients in self._pool.map(one, parts):
            total += value
            for p, gradient in zip(params, gradients, strict=True):
                if gradient is not None:
                    p.grad = gradient if p.grad is None else p.grad.add_(gradient)
        return total

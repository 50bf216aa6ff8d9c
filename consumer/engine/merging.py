"""Calls of one function, each for some rows of its own, made as one call for all of them. Knows tensors, not models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Call", "call_together", "groups_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call that a pipeline makes. Its first argument is a tensor whose first axis is the rows, or a list of them."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any] = field(default_factory=dict)
    closing: bool = False
    """The last one of a picture: its steps are done."""

    @property
    def rows(self) -> int:
        """How many rows it is about: two for a picture with guidance, one without."""
        first = self.arguments[0] if self.arguments else next(iter(self.named.values()))
        count: int = len(first)
        return count


def groups_of(calls: Iterable[Call]) -> list[list[Call]]:
    """The calls, in groups of which each can be made as one."""
    groups: list[list[Call]] = []
    for call in calls:
        for group in groups:
            if _alike(group[0], call):
                group.append(call)
                break
        else:
            groups.append([call])
    return groups


def call_together(group: Sequence[Call]) -> list[Any]:
    """What each call returns. One that is by itself is made as it is, to the bit."""
    first = group[0]
    if len(group) == 1:
        return [first.function(*first.arguments, **first.named)]
    counts = [call.rows for call in group]
    arguments = [_joined(values, counts) for values in zip(*(call.arguments for call in group), strict=True)]
    named = {name: _joined([call.named[name] for call in group], counts) for name in first.named}
    return _parted(first.function(*arguments, **named), counts)


def _alike(one: Call, other: Call) -> bool:
    return (
        one.function == other.function
        and len(one.arguments) == len(other.arguments)
        and one.named.keys() == other.named.keys()
        and all(_fits(a, b, one.rows, other.rows) for a, b in zip(one.arguments, other.arguments, strict=True))
        and all(_fits(value, other.named[name], one.rows, other.rows) for name, value in one.named.items())
    )


def _fits(one: Any, other: Any, rows: int, others: int) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        if one.dtype != other.dtype or one.ndim != other.ndim:
            return False
        if one.ndim == 0 or (len(one) == rows and len(other) == others):
            return bool(one.shape[1:] == other.shape[1:])
        # Not of its rows, as positions are: it has to be the same for all.
        return bool(one.shape == other.shape) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_fits(one[name], other[name], rows, others) for name in one)
    if isinstance(one, list):
        return len(one) == rows and len(other) == others
    return bool(one == other)


def _joined(values: Sequence[Any], counts: Sequence[int]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        if first.ndim == 0:
            # One timestep, which each row then has as its own.
            return torch.cat([value.expand(rows) for value, rows in zip(values, counts, strict=True)])
        return torch.cat(list(values)) if len(first) == counts[0] else first
    if isinstance(first, dict):
        return {name: _joined([value[name] for value in values], counts) for name in first}
    if isinstance(first, list):
        return [one for value in values for one in value]
    return first


def _parted(found: Any, counts: Sequence[int]) -> list[Any]:
    if isinstance(found, torch.Tensor):
        return list(found.split(list(counts)))
    if isinstance(found, tuple):
        return list(zip(*(_parted(part, counts) for part in found), strict=True))
    if isinstance(found, list):
        ends = [sum(counts[: index + 1]) for index in range(len(counts))]
        return [found[end - rows : end] for end, rows in zip(ends, counts, strict=True)]
    if isinstance(found, dict):
        # The libraries' outputs with names: a dict that is made by its names, and has them as attributes too.
        parts = {name: _parted(value, counts) for name, value in found.items()}
        return [type(found)(**{name: each[row] for name, each in parts.items()}) for row in range(len(counts))]
    raise TypeError(f"a model returned {type(found).__name__}, which has no rows")

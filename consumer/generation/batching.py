"""Which pictures run together. Pure: jobs go in, batches come out, nothing waits.

Pictures share a batch when everything but prompt, seed and source is equal; of a model that runs continuously, steps,
guidance and negative prompts may differ too. The oldest job leads: its kind of batch goes next, filled with the next
oldest of the same kind up to the model's budget. There is no waiting for company: under light load a batch of one
leaves at once, and under load the company is there by itself.

Loading a model takes as long as several batches, so the oldest job whose model is loaded leads before an older one
whose model is not: a few times, then the oldest one does.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from schemas.requests import Kind, Parameters

__all__ = ["BatchKey", "Batcher", "Piece", "batch_key"]

Owner = TypeVar("Owner", bound=Hashable)

PASSED_AT_MOST = 4
"""Batches of a loaded model that go before the oldest job: what its loading costs is shared by as many."""


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What pictures of a batch have in common. With and without a negative prompt, pipelines run differently.

    Sources and masks are each picture's own, as prompts and seeds are; where their denoising begins is not. No
    ``steps``: each picture runs at its own.
    """

    model: str
    width: int
    height: int
    steps: int
    guidance: float
    negative: bool
    adapters: tuple[tuple[str, float], ...]
    kind: Kind
    skipped: int

    @property
    def continuous(self) -> bool:
        """Whether others may join while a batch of these runs."""
        return self.steps == 0

    def without_steps(self) -> BatchKey:
        """What pictures have in common that join each other."""
        return replace(self, steps=0, guidance=0.0, negative=False, skipped=0)


def batch_key(parameters: Parameters) -> BatchKey:
    """The key of a job's pictures."""
    return BatchKey(
        model=parameters.model,
        width=parameters.width,
        height=parameters.height,
        steps=parameters.steps,
        guidance=parameters.guidance,
        negative=bool(parameters.negative_prompt),
        adapters=tuple((adapter.name, adapter.scale) for adapter in parameters.adapters),
        kind=parameters.kind,
        skipped=parameters.steps - parameters.denoising_steps,
    )


@dataclass(frozen=True, slots=True)
class Piece(Generic[Owner]):
    """One picture of a job: its index there."""

    owner: Owner
    index: int


@dataclass(slots=True)
class _Waiting(Generic[Owner]):
    owner: Owner
    key: BatchKey
    indices: deque[int]
    alone: bool


class Batcher(Generic[Owner]):
    """Pictures that wait. ``budget(key)`` is the most of a kind that may run together, at least 1."""

    def __init__(self, budget: Callable[[BatchKey], int]) -> None:
        self._budget = budget
        self._lowered: dict[tuple[str, int, int, str], int] = {}
        self._passed = 0
        """Batches that have gone before the job that is the oldest now."""
        self._waiting: deque[_Waiting[Owner]] = deque()
        self._entries: Counter[Owner] = Counter()
        """How many entries of a job wait; most jobs that end have none."""

    def __len__(self) -> int:
        """Jobs that have pictures waiting."""
        return len(self._waiting)

    def add(self, owner: Owner, key: BatchKey, indices: Iterable[int], *, alone: bool = False) -> None:
        """Pictures of a job, behind all that wait. ``alone``: they run with no other job's."""
        self._append(self._waiting.append, owner, key, indices, alone)

    def put_back(self, owner: Owner, key: BatchKey, indices: Iterable[int], *, alone: bool) -> None:
        """Pictures that were in a batch and were not made, before all that wait."""
        self._append(self._waiting.appendleft, owner, key, indices, alone)

    def remove(self, owner: Owner) -> None:
        """Forget what waits of this job."""
        if self._entries.pop(owner, 0):
            self._waiting = deque(entry for entry in self._waiting if entry.owner != owner)

    def isolate(self, owner: Owner) -> None:
        """What waits of this job is to run with no other job's."""
        for entry in self._waiting:
            entry.alone = entry.alone or entry.owner == owner

    def room(self, key: BatchKey) -> int:
        """The most pictures of this kind that run together."""
        budget = self._budget(key)
        return max(1, min(budget, self._lowered.get(_memory_shape(key), budget)))

    def lower(self, key: BatchKey, budget: int) -> None:
        """From now on at most ``budget`` pictures of this model and size: more of them did not fit in memory."""
        self._lowered[_memory_shape(key)] = max(1, budget)

    def next(self, warm: Container[str] = ()) -> tuple[BatchKey, list[Piece[Owner]]] | None:
        """The next batch, taken out; None when nothing waits. What doesn't fit of a job stays where it was.

        ``warm``: the models that are loaded.
        """
        if not self._waiting:
            return None
        lead = self._lead(warm)
        return lead.key, self._take(lead, self.room(lead.key))

    def more(self, key: BatchKey, room: int) -> list[Piece[Owner]]:
        """Up to ``room`` pictures that may join those of this key. None when the oldest that waits is of another kind:
        for it to have its turn, what runs has to come to its end."""
        if not self._waiting or self._waiting[0].alone or self._waiting[0].key != key:
            return []
        return self._take(self._waiting[0], room)

    def _take(self, lead: _Waiting[Owner], room: int) -> list[Piece[Owner]]:
        taken: list[Piece[Owner]] = []
        kept: deque[_Waiting[Owner]] = deque()
        for entry in self._waiting:
            fits = entry is lead or (not lead.alone and not entry.alone and entry.key == lead.key)
            while fits and entry.indices and len(taken) < room:
                taken.append(Piece(entry.owner, entry.indices.popleft()))
            if entry.indices:
                kept.append(entry)
            else:
                self._entries[entry.owner] -= 1
                if not self._entries[entry.owner]:
                    del self._entries[entry.owner]
        self._waiting = kept
        return taken

    def _lead(self, warm: Container[str]) -> _Waiting[Owner]:
        oldest = self._waiting[0]
        if oldest.key.model not in warm and self._passed < PASSED_AT_MOST:
            found = next((entry for entry in self._waiting if entry.key.model in warm), None)
            if found is not None:
                self._passed += 1
                return found
        self._passed = 0
        return oldest

    def _append(
        self,
        append: Callable[[_Waiting[Owner]], None],
        owner: Owner,
        key: BatchKey,
        indices: Iterable[int],
        alone: bool,
    ) -> None:
        found = deque(indices)
        if found:
            append(_Waiting(owner, key, found, alone))
            self._entries[owner] += 1


def _memory_shape(key: BatchKey) -> tuple[str, int, int, str]:
    """What decides how much memory a picture takes."""
    return key.model, key.width, key.height, key.kind

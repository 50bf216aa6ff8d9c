"""Pictures of jobs as the engine knows them: by a name each, in batches or in rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from consumer.engine.contract import Batch, Item, Row, Shape
from consumer.generation.batching import BatchKey, Piece
from consumer.generation.jobs import Job

__all__ = ["batch_of", "by_job", "name_of", "rows_of"]


def by_job(pieces: Iterable[Piece[Job]]) -> dict[Job, list[int]]:
    """Each job with the indices of its pictures."""
    found: dict[Job, list[int]] = defaultdict(list)
    for piece in pieces:
        found[piece.owner].append(piece.index)
    return found


def name_of(piece: Piece[Job]) -> str:
    """What the engine calls it. With its tenant: another may use the same id, by chance or to see what comes of it."""
    assigned = piece.owner.assigned
    return f"{assigned.tenant}/{assigned.request_id}/{assigned.attempt}/{piece.index}"


def batch_of(key: BatchKey, pieces: Sequence[Piece[Job]]) -> Batch:
    """The pictures as one batch."""
    return Batch(key.model, _shape(key), tuple(map(_item, pieces)))


def rows_of(pieces: Iterable[Piece[Job]]) -> list[Row]:
    """The pictures as rows, each with the steps and the guidance of its job."""
    return [Row(_shape(piece.owner.batch_key), _item(piece)) for piece in pieces]


def _shape(key: BatchKey) -> Shape:
    return Shape(key.width, key.height, key.steps, key.guidance, key.negative, key.adapters, key.kind, key.skipped)


def _item(piece: Piece[Job]) -> Item:
    parameters, source = piece.owner.parameters, piece.owner.source
    return Item(
        name_of(piece),
        parameters.prompt,
        parameters.seeds()[piece.index],
        parameters.negative_prompt or None,
        source.pixels if source else None,
        source.mask if source else None,
        parameters.previews,
    )

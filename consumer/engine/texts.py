"""Embeddings of prompts, kept: people ask again for what they have asked for, and a text encoder is a large model.

Each prompt is encoded by itself. So its embedding is the same to the bit whether it is kept or made, and whoever else
is in the batch.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from consumer.engine.contract import TextUse

__all__ = ["TextCache"]

_MAX_BYTES = 128 * 2**20
"""Some megabytes a prompt with the largest encoders; on the device where they are made."""

_Row = tuple[Any, ...]
"""What a pipeline's ``encode_prompt`` returns for one prompt: tensors, lists of tensors, and None."""


class TextCache:
    """The embeddings of one loaded model, the least recently used leaving first.

    ``adapters`` names the adapters in force that change the text encoders: with others, a prompt is another one.
    """

    def __init__(self, adapters: Callable[[], str], *, max_bytes: int = _MAX_BYTES) -> None:
        self.used = TextUse(0, 0)
        self._adapters = adapters
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, _Row] = OrderedDict()
        self._bytes = 0

    def attach(self, form: Any) -> None:
        """Have a pipeline take its embeddings from here."""
        encode = form.encode_prompt
        form.encode_prompt = functools.partial(self._encode, type(form).__name__, encode, inspect.signature(encode))

    def _encode(self, form: str, encode: Callable[..., Any], names: inspect.Signature, *args: Any, **named: Any) -> Any:
        given = names.bind(*args, **named).arguments
        texts = {name: value for name, value in given.items() if "prompt" in name and isinstance(value, list)}
        rest = {name: value for name, value in given.items() if name not in texts}
        if "prompt" not in texts or not all(isinstance(value, Hashable) for value in rest.values()):
            return encode(**given)
        if any(name.endswith(("_embeds", "_mask")) and value is not None for name, value in given.items()):
            return encode(**given)
        rows = []
        for values in zip(*texts.values(), strict=True):
            row = dict(zip(texts, values, strict=True))
            key = form, self._adapters(), *sorted(row.items()), *sorted(rest.items(), key=lambda item: item[0])
            alone = {name: [text] for name, text in row.items()}
            rows.append(self._kept_or_made(key, functools.partial(encode, **alone, **rest)))
        return _joined(rows)

    def _kept_or_made(self, key: Hashable, make: Callable[[], _Row]) -> _Row:
        row = self._kept.get(key)
        if row is not None:
            self._kept.move_to_end(key)
            self.used = TextUse(self.used.kept + 1, self.used.made)
            return row
        self.used = TextUse(self.used.kept, self.used.made + 1)
        row = self._kept[key] = make()
        self._bytes += _size(row)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return row


def _joined(rows: Sequence[_Row]) -> _Row:
    """Rows as the pipeline would have returned them together; copies, for pipelines may change what they get."""
    columns = [_column(values) for values in zip(*rows, strict=True)]
    lengths = [row[0].shape[1] for row in rows if isinstance(row[0], torch.Tensor)]
    if len(columns) == 2 and len(set(lengths)) > 1 and columns[1] is None:
        # Qwen-Image pads to the longest, and says by a mask where; one alone has none.
        places = torch.arange(max(lengths), device=columns[0].device)
        columns[1] = (places < torch.tensor(lengths, device=places.device)[:, None]).long()
    return tuple(columns)


def _column(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, list):
        return [tensor.clone() for value in values for tensor in value]
    if not isinstance(first, torch.Tensor):
        return first
    if first.shape[0] != 1:
        # Nobody's in particular, as Flux's places of words.
        return first.clone()
    longest = max(value.shape[1] for value in values)
    padded = [
        torch.cat([value, value.new_zeros(1, longest - value.shape[1], *value.shape[2:])], dim=1) for value in values
    ]
    return torch.cat(padded)


def _size(row: _Row) -> int:
    tensors = (tensor for part in row for tensor in (part if isinstance(part, list) else [part]))
    return sum(tensor.nbytes for tensor in tensors if isinstance(tensor, torch.Tensor))

"""Records whose header names are not UTF-8: made readable, as the client can't read them.

The protocol says that a header's name is text, and the broker does not check it. aiokafka decodes it strictly, and the
exception ends the reading of that partition, by every reader, for ever: one record of anybody who may write there would
stop all of its tenants. Here such a name is read with U+FFFD in place of what is no UTF-8, so that the record is
refused like any other that is malformed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import aiokafka.consumer.fetcher as fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

__all__ = ["install"]

_LENGTH_AT = 8
_BEFORE_LENGTH_ENDS = 12


def install() -> None:
    """Have every consumer of this process read in this way. Calling it again changes nothing."""
    fetcher.MemoryRecords = _Records


class _Records:
    """A fetched set of batches, as the client's own class of that purpose."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._position = 0
        self._records = MemoryRecords(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def next_batch(self) -> _Batch | None:
        batch = self._records.next_batch()
        if batch is None:
            return None
        start = self._position
        (length,) = struct.unpack_from(">i", self._raw, start + _LENGTH_AT)
        self._position = start + _BEFORE_LENGTH_ENDS + length
        return _Batch(batch, self._raw[start : self._position])


class _Batch:
    """A batch of the client's; from the first record that it can't read, its records are read here."""

    def __init__(self, batch: Any, raw: bytes) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except (UnicodeDecodeError, CorruptRecordException) as error:
            # The client's parser in Python wraps the one in the other, the one in C does not.
            if not isinstance(error.__cause__ or error, UnicodeDecodeError):
                raise
            yield from islice(_read_leniently(self._raw), read, None)


def _read_leniently(raw: bytes) -> Iterator[Any]:
    batch: Any = _DefaultRecordBatchPy(raw)
    batch._maybe_uncompress()
    batch._buffer = _LenientBytes(batch._buffer)
    return iter(batch)


class _LenientBytes(bytearray):
    """Decodes what is no UTF-8, also in its slices. Only header names are ever decoded by the parser."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _LenientBytes(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)

"""Which of a tenant's tasks are wanted, as queries that an index of the task file answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Wanted"]

_COUNTED = 1_000
"""Filters that fit more tasks than that are equally common: counting further would cost more than it spares."""


@dataclass(frozen=True, slots=True)
class _Filter:
    """One thing that is asked of a task.

    ``table``: where an index has the ids of all that fit it in order; ``fits``: the condition there, for ``values``;
    ``check``: the condition for a task that was found by another.
    """

    table: str
    fits: str
    check: str
    values: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.table.split()[0]}.id"

    def size(self, db: sqlite3.Connection) -> int:
        """How many tasks fit, as far as that is counted."""
        query = f"SELECT count(*) FROM (SELECT 1 FROM {self.table} WHERE {self.fits} LIMIT ?)"  # noqa: S608 - our names
        (found,) = db.execute(query, (*self.values, _COUNTED)).fetchone()
        return int(found)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page of the requests of a tenant that have this state, group and metadata, all where given.

    Newest first, by the time in their ids; ``oldest_first`` turns that round. ``after`` is the last id of the page
    before.
    """

    tenant: str
    limit: int
    state: str | None = None
    group: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None
    oldest_first: bool = False

    def query(self, db: sqlite3.Connection, columns: Sequence[str], since_ms: int) -> tuple[str, list[Any]]:
        """SQL and its values, for the id and ``columns`` of each request that changed after ``since_ms``."""
        first = self._rarest(db)
        source, values = self._fitting(first, since_ms)
        if self.after is not None:
            source += f" AND {first.id} {'>' if self.oldest_first else '<'} ?"
            values.append(self.after)
        order = "ASC" if self.oldest_first else "DESC"
        named = ", ".join(f"tasks.{column}" for column in ("id", *columns))
        return f"SELECT {named} {source} ORDER BY {first.id} {order} LIMIT ?", [*values, self.limit]

    def counting(self, db: sqlite3.Connection, since_ms: int) -> tuple[str, list[Any]]:
        """SQL and its values, for states and how many such requests there are in each."""
        source, values = self._fitting(self._rarest(db), since_ms)
        return f"SELECT tasks.state, count(*) {source} GROUP BY tasks.state", values

    def _rarest(self, db: sqlite3.Connection) -> _Filter:
        """The filter whose index is gone along; what it finds is one look-up each, and is in order already."""
        filters = self._filters()
        if len(filters) < 2:
            return filters[0] if filters else self._all()
        return min(filters, key=lambda one: one.size(db))

    def _all(self) -> _Filter:
        return _Filter("tasks", "tasks.tenant = ?", "tasks.tenant = ?", (self.tenant,))

    def _filters(self) -> list[_Filter]:
        found = []
        for label in self.metadata.items():
            fits = "labels.tenant = ? AND labels.key = ? AND labels.value = ?"
            check = f"EXISTS (SELECT 1 FROM labels WHERE {fits} AND labels.id = tasks.id)"  # noqa: S608 - our own names
            found.append(_Filter("labels", fits, check, (self.tenant, *label)))
        for column, index, value in (
            ("state", "tasks_by_state", self.state),
            ("group_name", "tasks_by_group", self.group),
        ):
            if value is not None:
                # Left to itself, SQLite goes through all of a tenant's tasks: it thinks that they are ten.
                fits = f"tasks.tenant = ? AND tasks.{column} = ?"
                found.append(_Filter(f"tasks INDEXED BY {index}", fits, fits, (self.tenant, value)))
        return found

    def _fitting(self, first: _Filter, since_ms: int) -> tuple[str, list[Any]]:
        table, conditions, values = first.table, [first.fits], [*first.values]
        if first.id != "tasks.id":
            # A cross join keeps the order of the tables.
            table += " CROSS JOIN tasks"
            conditions.append(f"tasks.tenant = ? AND tasks.id = {first.id}")
            values.append(self.tenant)
        for one in self._filters():
            if one != first:
                conditions.append(one.check)
                values += one.values
        conditions.append("tasks.updated_ms >= ?")
        return f"FROM {table} WHERE {' AND '.join(conditions)}", [*values, since_ms]

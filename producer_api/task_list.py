"""Which of a tenant's tasks are wanted, as queries that an index of the task file answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Wanted"]


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

    def query(self, columns: Sequence[str], since_ms: int) -> tuple[str, list[Any]]:
        """SQL and its values, for the id and ``columns`` of each request that changed after ``since_ms``."""
        source, values = self._fitting(since_ms)
        if self.after is not None:
            source += f" AND {self._id} {'>' if self.oldest_first else '<'} ?"
            values.append(self.after)
        order = "ASC" if self.oldest_first else "DESC"
        named = ", ".join(f"tasks.{column}" for column in ("id", *columns))
        return f"SELECT {named} {source} ORDER BY {self._id} {order} LIMIT ?", [*values, self.limit]

    def counting(self, since_ms: int) -> tuple[str, list[Any]]:
        """SQL and its values, for states and how many such requests there are in each."""
        source, values = self._fitting(since_ms)
        return f"SELECT tasks.state, count(*) {source} GROUP BY tasks.state", values

    @property
    def _id(self) -> str:
        # The column of the index that is gone along, so that nothing has to be sorted.
        return "label_0.id" if self.metadata else "tasks.id"

    @property
    def _index(self) -> str:
        # Left to itself, SQLite goes through all of a tenant's tasks: it thinks that they are ten.
        if not self.metadata and self.group is not None:
            return "INDEXED BY tasks_by_group"
        return "INDEXED BY tasks_by_state" if not self.metadata and self.state is not None else ""

    def _fitting(self, since_ms: int) -> tuple[str, list[Any]]:
        tables = [f"labels AS label_{number}" for number in range(len(self.metadata))]
        conditions: list[str] = []
        values: list[Any] = []
        for number, label in enumerate(self.metadata.items()):
            conditions.append(f"label_{number}.tenant = ? AND label_{number}.key = ? AND label_{number}.value = ?")
            values += [self.tenant, *label]
            if number:
                conditions.append(f"label_{number}.id = label_0.id")
        if self.metadata:
            conditions.append("tasks.id = label_0.id")
        conditions.append("tasks.tenant = ?")
        values.append(self.tenant)
        for column, value in (("state", self.state), ("group_name", self.group)):
            if value is not None:
                conditions.append(f"tasks.{column} = ?")
                values.append(value)
        conditions.append("tasks.updated_ms >= ?")
        values.append(since_ms)
        tables.append(f"tasks {self._index}")
        # A cross join keeps the order of the tables: the labels choose, each task is then one look-up.
        return f"FROM {' CROSS JOIN '.join(tables)} WHERE {' AND '.join(conditions)}", values

"""What the API knows about recent requests, in a SQLite file that also holds how far the topics were read.

Rows and positions change in one transaction, so that the file is never ahead of itself or behind. It is derived from
the topics alone: a file that is missing, damaged, of another cluster or of another format is made again from them, and
what it lacks of the last moments after a crash is read again.
Every change is such that the order in which the two topics are read among each other does not matter.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from producer_api.task_list import Wanted
from producer_api.wire import TenantEvent
from schemas.events import (
    Accepted,
    CancelAccepted,
    Canceled,
    Deleted,
    Failed,
    GenerationStarted,
    GenerationStep,
    Rejected,
    Succeeded,
)
from transport.records import TopicPartition

__all__ = ["Row", "TaskFile", "TaskFileError", "Timed"]

log = logging.getLogger(__name__)

_FORMAT = 3
_COMMIT_S = 0.25
"""Batches that come within such a time are written out together: a page that several of them change goes out once."""

_TABLES = """
CREATE TABLE about (format INTEGER NOT NULL, identity TEXT NOT NULL);
CREATE TABLE positions (
  topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE tasks (
  tenant TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, created_ms INTEGER, updated_ms INTEGER NOT NULL,
  decision TEXT, ending TEXT, attempt INTEGER, step INTEGER, steps INTEGER,
  cancel_requested INTEGER NOT NULL DEFAULT 0, deleted_ms INTEGER, group_name TEXT, PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX tasks_by_age ON tasks (updated_ms);
CREATE INDEX tasks_by_state ON tasks (tenant, state, id);
CREATE INDEX tasks_by_group ON tasks (tenant, group_name, id) WHERE group_name IS NOT NULL;
CREATE TABLE labels (
  tenant TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tenant, key, value, id)
) WITHOUT ROWID;
"""
_ACCEPTED = """
INSERT INTO tasks (tenant, id, state, created_ms, updated_ms, decision, group_name)
VALUES (?1, ?2, 'accepted', ?3, ?3, ?4, ?5)
ON CONFLICT (tenant, id) DO UPDATE SET
  state = CASE state WHEN 'rejected' THEN 'accepted' ELSE state END,
  created_ms = excluded.created_ms, updated_ms = max(updated_ms, excluded.updated_ms), decision = excluded.decision,
  group_name = excluded.group_name
"""
_LABELED = "INSERT OR IGNORE INTO labels (tenant, key, value, id) VALUES (?, ?, ?, ?)"
_UNLABELED = "DELETE FROM labels WHERE tenant = ? AND key = ? AND value = ? AND id = ?"
_REJECTED = """
INSERT INTO tasks (tenant, id, state, created_ms, updated_ms, decision) VALUES (?1, ?2, 'rejected', ?3, ?3, ?4)
ON CONFLICT (tenant, id) DO UPDATE SET updated_ms = excluded.updated_ms, decision = excluded.decision
WHERE state = 'rejected'
"""
_PROGRESS = """
INSERT INTO tasks (tenant, id, state, updated_ms, attempt, step, steps) VALUES (?1, ?2, 'running', ?3, ?4, ?5, ?6)
ON CONFLICT (tenant, id) DO UPDATE SET
  state = 'running', updated_ms = max(updated_ms, excluded.updated_ms),
  attempt = excluded.attempt, step = excluded.step, steps = excluded.steps
WHERE ending IS NULL AND (excluded.attempt, excluded.step) > (coalesce(attempt, 0), coalesce(step, -1))
"""
_ENDED = """
INSERT INTO tasks (tenant, id, state, updated_ms, ending) VALUES (?1, ?2, ?4, ?3, ?5)
ON CONFLICT (tenant, id) DO UPDATE SET
  state = excluded.state, updated_ms = excluded.updated_ms, ending = excluded.ending,
  attempt = NULL, step = NULL, steps = NULL
WHERE ending IS NULL
"""
# Of what is no longer remembered nothing is begun anew: results are in order, so its decision would be there.
_CANCEL_REQUESTED = (
    "UPDATE tasks SET cancel_requested = 1, updated_ms = max(updated_ms, ?3) WHERE tenant = ?1 AND id = ?2"
)
_DELETED = "UPDATE tasks SET deleted_ms = ?3, updated_ms = max(updated_ms, ?3) WHERE tenant = ?1 AND id = ?2"


class TaskFileError(Exception):
    """The file can't be used; the message says why."""


class Timed(NamedTuple):
    """An event and when the broker took it, in ms since 1970."""

    event: TenantEvent
    at_ms: int


class Row(NamedTuple):
    """A request as the file has it. ``decision`` and ``ending`` are the events' own JSON."""

    state: str
    created_ms: int | None
    updated_ms: int
    decision: str | None
    ending: str | None
    attempt: int | None
    step: int | None
    steps: int | None
    cancel_requested: int
    deleted_ms: int | None


class TaskFile:
    """Used from one thread. ``identity`` names the cluster and topics that it is derived from."""

    def __init__(self, path: Path, identity: str, *, not_before_ms: int, anew: bool = False) -> None:
        """Open the file; one that can't go on, or was last written before ``not_before_ms``, is begun anew.

        ``anew`` throws away whatever there is.

        Raises ``TaskFileError`` when another process has it, or its folder can't be written.
        """
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._written: dict[TopicPartition, int] = {}
        self._began = 0.0
        self._failed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if anew or not self._reopen(identity, not_before_ms):
                self._begin_anew(identity)
        except (sqlite3.OperationalError, OSError) as error:
            self.close()
            raise TaskFileError(
                f"{path} can't be used: {error}; each process of the API needs a file of its own"
            ) from None

    def close(self) -> None:
        """Write everything out. A second call does nothing."""
        db, self._db = self._db, None
        if db is not None:
            # What can't be written is read again.
            with suppress(sqlite3.Error):
                db.commit()
            db.close()

    def positions(self) -> dict[TopicPartition, int]:
        """The next offset of each partition; empty for a new file."""
        db = self._open
        rows = db.execute("SELECT topic, partition, next FROM positions")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    def apply(self, events: Iterable[Timed], positions: Mapping[TopicPartition, int]) -> None:
        """Take in a batch and the positions after it, or nothing of both.

        After a failure nothing more is taken in: the positions of a later batch would pass over this one.
        """
        db = self._open
        if self._failed:
            raise TaskFileError(f"{self._path} lacks a batch that could not be written")
        self._failed = True
        moved = {tp: offset for tp, offset in positions.items() if self._written.get(tp) != offset}
        if not db.in_transaction:
            db.execute("BEGIN")
            self._began = time.monotonic()
        with _all_or_nothing(db):
            for event, at_ms in events:
                _apply(db, event, at_ms)
            db.executemany(
                "INSERT OR REPLACE INTO positions (topic, partition, next) VALUES (?, ?, ?)",
                [(tp.topic, tp.partition, offset) for tp, offset in moved.items()],
            )
        self._written |= moved
        if time.monotonic() - self._began > _COMMIT_S:
            db.commit()
        self._failed = False

    def row(self, tenant: str, id_: str) -> Row | None:
        """What is known about a tenant's request."""
        found = self._open.execute(
            f"SELECT {', '.join(Row._fields)} FROM tasks WHERE tenant = ? AND id = ?",  # noqa: S608 - our own names
            (tenant, id_),
        ).fetchone()
        return None if found is None else Row(*found)

    def page(self, wanted: Wanted, since_ms: int) -> list[tuple[str, Row]]:
        """The requests that are wanted and changed after ``since_ms``, with their ids."""
        query, values = wanted.query(self._open, Row._fields, since_ms)
        return [(id_, Row(*found)) for id_, *found in self._open.execute(query, values)]

    def counts(self, wanted: Wanted, since_ms: int) -> dict[str, int]:
        """How many of them there are in each state, on all pages together."""
        query, values = wanted.counting(self._open, since_ms)
        return dict(self._open.execute(query, values).fetchall())

    def purge(self, before_ms: int) -> int:
        """Forget what last changed before ``before_ms``; returns how many requests that were."""
        db = self._open
        db.commit()
        with db:
            gone = db.execute(
                "DELETE FROM tasks WHERE updated_ms < ? RETURNING tenant, id, decision", (before_ms,)
            ).fetchall()
            for tenant, id_, decision in gone:
                metadata = json.loads(decision or "{}").get("metadata", {})
                db.executemany(_UNLABELED, [(tenant, *label, id_) for label in metadata.items()])
        return len(gone)

    def _reopen(self, identity: str, not_before_ms: int) -> bool:
        try:
            self._db = db = _connect(self._path)
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
                return False
            if db.execute("SELECT format, identity FROM about").fetchone() != (_FORMAT, identity):
                log.info("%s is of another format or cluster, it is made again", self._path)
                return False
            (newest,) = db.execute("SELECT max(updated_ms) FROM tasks").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            log.warning("%s is damaged, it is made again: %s", self._path, error)
            return False
        return newest is None or newest >= not_before_ms

    def _begin_anew(self, identity: str) -> None:
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._db = db = _connect(self._path)
        db.executescript(_TABLES)
        with db:
            db.execute("INSERT INTO about (format, identity) VALUES (?, ?)", (_FORMAT, identity))

    @property
    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise TaskFileError(f"{self._path} is closed")
        return self._db


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    # A second process on the same file would take each other's rows for its own.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    # Enough for a file that is derived: after a power cut it is at an older, whole state, positions included.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


@contextmanager
def _all_or_nothing(db: sqlite3.Connection) -> Iterator[None]:
    """What is changed in here, within the transaction that is open."""
    db.execute("SAVEPOINT batch")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK TO batch")
        raise
    finally:
        db.execute("RELEASE batch")


def _apply(db: sqlite3.Connection, event: TenantEvent, at_ms: int) -> None:
    about = (event.tenant, event.request_id, at_ms)
    match event:
        case Accepted():
            db.execute(_ACCEPTED, (*about, event.model_dump_json(), event.group))
            labels = event.metadata.items()
            db.executemany(_LABELED, [(event.tenant, *label, event.request_id) for label in labels])
        case Rejected():
            db.execute(_REJECTED, (*about, event.model_dump_json()))
        case GenerationStarted():
            db.execute(_PROGRESS, (*about, event.attempt, 0, event.steps))
        case GenerationStep():
            db.execute(_PROGRESS, (*about, event.attempt, event.step, event.steps))
        case Succeeded() | Failed() | Canceled():
            state = type(event).__name__.lower()
            db.execute(_ENDED, (*about, state, event.model_dump_json()))
        case CancelAccepted():
            db.execute(_CANCEL_REQUESTED, about)
        case Deleted():
            db.execute(_DELETED, about)

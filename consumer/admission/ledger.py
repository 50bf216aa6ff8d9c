"""The ledger on disk: what each record of ``<prefix>.ledger`` holds, and a partition's memory read back from it.

Keys are ``__init``, ``__offsets``, ``account/<tenant>``, and before ``<tenant>/<id>``: ``request/``, ``early_cancel/``
and ``delete/``. Values are JSON; null forgets. Fields are only added within a format. ``__offsets`` is written in the
same transaction as what was decided from those records: it, not the group's committed offsets, says where to go on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import asdict
from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from consumer.admission.deletions import Deletion, Wanted
from consumer.admission.ledger_requests import read_request, request_content
from consumer.admission.quota import Account, Bucket, Period
from consumer.admission.state import EndedRequest, OpenRequest, PartitionState, RequestKey
from transport.records import Outgoing, Record

__all__ = [
    "FORMAT",
    "INIT_KEY",
    "OFFSETS_KEY",
    "Init",
    "Moving",
    "Restored",
    "account_record",
    "deletion_record",
    "early_cancel_record",
    "offsets_record",
    "request_record",
    "restore",
]

FORMAT = 1
"""Grows when an older easel could not read what a newer one writes."""

_AT_ONCE = 500

INIT_KEY = b"__init"
OFFSETS_KEY = b"__offsets"
_ACCOUNT = "account/"
_REQUEST = "request/"
_EARLY_CANCEL = "early_cancel/"
_DELETE = "delete/"


class Moving(BaseModel):
    """The ledger is on its way to another number of partitions; nobody may decide by it meanwhile."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    to: int
    copied: bool = False
    """Everything stands in its new place, and the old places are being cleared."""


class Init(BaseModel):
    """Written once, when the topics are made: without it, an empty ledger can't be told from a lost one."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = FORMAT
    cluster_id: str
    installation: str
    partitions: int
    start: dict[str, int]
    """Input name → the first offset to read."""
    moving: Moving | None = None


class Restored:
    """A partition read back: its ``init`` record (None where there is none), and its memory."""

    def __init__(self) -> None:
        self.init: Init | None = None
        self.state = PartitionState()
        self._latest: dict[bytes, Any] = {}

    def read(self, records: Iterable[Record]) -> None:
        """Take in the next records, oldest first. Only the last value of a key counts."""
        for record in records:
            if record.key is None:
                continue
            if record.value is None:
                self._latest.pop(record.key, None)
            else:
                self._latest[record.key] = record.value

    def finish(self) -> None:
        """Everything was read: build the memory."""
        for _ in self.build():
            pass

    def build(self) -> Iterator[None]:
        """As ``finish``, a little at a time: who runs an event loop lets it run in between."""
        for number, key in enumerate(list(self._latest), 1):
            # Each value is let go of as it is taken in: held to the end, they would double what a restore needs.
            self._take(key.decode(), from_json(self._latest.pop(key)))
            if number % _AT_ONCE == 0:
                yield

    def _take(self, key: str, content: dict[str, Any]) -> None:
        if key.startswith(_REQUEST):
            tenant, _, request_id = key.removeprefix(_REQUEST).partition("/")
            # One string for all requests of a tenant.
            tenant = sys.intern(tenant)
            self.state.put(name := RequestKey(tenant, request_id), read_request(name, content))
        elif key.startswith(_EARLY_CANCEL):
            tenant, _, request_id = key.removeprefix(_EARLY_CANCEL).partition("/")
            self.state.early_cancels.put(RequestKey(tenant, request_id), content["until_ms"])
        elif key.startswith(_DELETE):
            tenant, _, request_id = key.removeprefix(_DELETE).partition("/")
            self.state.deletions.put(RequestKey(tenant, request_id), _read_deletion(content))
        elif key.startswith(_ACCOUNT):
            tenant = key.removeprefix(_ACCOUNT)
            self.state.accounts[tenant] = _read_account(tenant, content)
        elif key.encode() == OFFSETS_KEY:
            self.state.next_offsets = dict(content["next"])
            self.state.sequence = max(self.state.sequence, content["sequence"])
            self.state.clock_ms = content["clock_ms"]
            self.state.times = dict(content.get("times", {}))
            self.state.tenants_version = content["tenants_version"]
        elif key.encode() == INIT_KEY:
            self.init = Init.model_validate(content)


async def restore(batches: Any) -> Restored:
    """Read a partition back from ``batches``, an async iterator of lists of records."""
    restored = Restored()
    async for records in batches:
        restored.read(records)
    for _ in restored.build():
        await asyncio.sleep(0)
    return restored


def offsets_record(topic: str, partition: int, state: PartitionState) -> Outgoing:
    """How far this partition has read, as of this transaction."""
    content = {
        "next": state.next_offsets,
        "sequence": state.sequence,
        "clock_ms": state.clock_ms,
        "times": state.times,
        # Read by the format's first writers, which served all pools in one order.
        "turn": max(state.times.values(), default=0),
        "tenants_version": state.tenants_version,
    }
    return Outgoing(topic=topic, key=OFFSETS_KEY, value=to_json(content), partition=partition)


def account_record(topic: str, partition: int, account: Account) -> Outgoing:
    """A tenant's account."""
    bucket = account.bucket
    content = {
        "bucket": None if bucket is None else {"level": bucket.level, "at_ms": bucket.at_ms},
        "days": {name: _period(period) for name, period in account.days.items()},
        "months": {name: _period(period) for name, period in account.months.items()},
        "turns": account.turns,
        "turn": max(account.turns.values(), default=0),
        "asked": account.asked,
    }
    return Outgoing(
        topic=topic, key=f"{_ACCOUNT}{account.tenant}".encode(), value=to_json(content), partition=partition
    )


def request_record(topic: str, partition: int, key: RequestKey, request: OpenRequest | EndedRequest | None) -> Outgoing:
    """A request; None forgets it."""
    value = None if request is None else to_json(request_content(request))
    return Outgoing(
        topic=topic, key=f"{_REQUEST}{key.tenant}/{key.request_id}".encode(), value=value, partition=partition
    )


def deletion_record(topic: str, partition: int, key: RequestKey, deletion: Deletion | None) -> Outgoing:
    """A delete that is with the fleet; None: it was reported."""
    value = None if deletion is None else to_json(asdict(deletion))
    return Outgoing(
        topic=topic, key=f"{_DELETE}{key.tenant}/{key.request_id}".encode(), value=value, partition=partition
    )


def _read_deletion(content: dict[str, Any]) -> Deletion:
    return Deletion(tuple(Wanted(*one) for one in content["wanted"]), content["attempt"], content["sent_ms"])


def early_cancel_record(topic: str, partition: int, key: RequestKey, until_ms: int | None) -> Outgoing:
    """Until when a cancel of a request that has not arrived is remembered; None forgets it."""
    value = None if until_ms is None else to_json({"until_ms": until_ms})
    return Outgoing(
        topic=topic, key=f"{_EARLY_CANCEL}{key.tenant}/{key.request_id}".encode(), value=value, partition=partition
    )


def _period(period: Period) -> dict[str, int]:
    return {"held": period.held, "settled": period.settled, "refunded": period.refunded}


def _read_account(tenant: str, content: dict[str, Any]) -> Account:
    def periods(name: str) -> Mapping[str, Period]:
        return {
            period: Period(posted["held"], posted["settled"], posted["refunded"])
            for period, posted in content[name].items()
        }

    bucket = content["bucket"]
    return Account(
        tenant=tenant,
        bucket=None if bucket is None else Bucket(bucket["level"], bucket["at_ms"]),
        days=periods("days"),
        months=periods("months"),
        turns=content.get("turns", {}),
        asked=content.get("asked", 0),
    )

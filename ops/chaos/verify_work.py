"""Was only done what was paid for, and is what was delivered there, and nothing that was deleted?"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

from ops.chaos.verify_facts import ENDS, Facts, Said, Violation
from schemas.connection import StoreSettings
from schemas.outputs import request_prefix
from transport.errors import TransportError
from transport.objects import ObjectStore

__all__ = ["check_outputs", "check_work"]

_AT_ONCE = 16
_JOB_ENDS = frozenset({"job.succeeded", "job.failed", "job.canceled"})
# Records of one transaction go to several partitions: their times of arrival may be so far apart.
_ONE_TRANSACTION_MS = 5_000


def check_work(facts: Facts) -> Iterator[Violation]:
    """Every rule about jobs."""
    held = {event.request: int(event.content["milliunits"]) for event in facts.usage if event.kind == "usage.held"}
    ends: dict[tuple[str, str], Said] = {}
    for event in facts.results:
        if event.kind in ENDS:
            ends.setdefault(event.request, event)
    called_off: defaultdict[tuple[str, str], int] = defaultdict(int)
    for note in facts.control:
        called_off[note.request] = max(called_off[note.request], int(note.content["min_attempt"]))
    ended = {(one.request, int(one.content["attempt"])) for one in facts.outcomes if one.kind in _JOB_ENDS}
    seen = set[tuple[tuple[str, str], int]]()
    for job in facts.jobs:
        if job.kind != "job.assigned":
            continue
        attempt, name = int(job.content["attempt"]), f"{job.tenant}/{job.request_id}, attempt {job.content['attempt']}"
        if (job.request, attempt) in seen:
            yield Violation("job", name, "sent to the fleet twice")
        seen.add((job.request, attempt))
        if held.get(job.request) is None:
            yield Violation("job", name, "in jobs, and nothing is held for it")
        elif held[job.request] != int(job.content["cost_milliunits"]):
            yield Violation("job", name, f"costs {job.content['cost_milliunits']}, held is {held[job.request]}")
        noted = called_off[job.request] > attempt
        end = ends.get(job.request)
        if end is not None and job.at_ms > end.at_ms + _ONE_TRANSACTION_MS and not noted:
            yield Violation("job", name, f"sent {job.at_ms - end.at_ms} ms after {end.kind}, and not called off")
        if end is not None and (job.request, attempt) not in ended and not noted:
            yield Violation("job", name, f"neither ended nor called off, though its request has {end.kind}")


async def check_outputs(facts: Facts, settings: StoreSettings) -> AsyncIterator[Violation]:
    """Each picture of each success is in the store, with the size and the hash that its event names; of a request that
    was deleted there is nothing, and nobody was given it afterwards."""
    deleted: dict[str, Said] = {}
    for event in facts.results:
        if event.kind == "generation.deleted":
            deleted.setdefault(request_prefix(*event.request), event)
    wanted: dict[str, tuple[str, str, int]] = {}
    for event in facts.results:
        if event.kind != "generation.succeeded":
            continue
        about, outputs = "/".join(event.request), event.content["outputs"]
        if not outputs:
            yield Violation("output", about, "succeeded without a picture")
        for output in outputs:
            # An answer from an earlier result names that one's pictures.
            gone = deleted.get(f"{output['key'].rpartition('/')[0]}/")
            if gone is None:
                wanted[output["key"]] = (about, output["sha256"], int(output["bytes"]))
            elif event.offset > gone.offset:
                yield Violation("output", about, f"delivers {output['key']}, which had been deleted")
    places = asyncio.Semaphore(_AT_ONCE)

    async def look(store: ObjectStore, key: str) -> Violation | None:
        about, sha256, size = wanted[key]
        async with places:
            try:
                content = await store.get(key)
            except TransportError as error:
                return Violation("output", about, str(error))
        if (hashlib.sha256(content).hexdigest(), len(content)) != (sha256, size):
            return Violation("output", about, f"{key} is not what the event says")
        return None

    async def look_for_rest(store: ObjectStore, prefix: str) -> Violation | None:
        async with places:
            rest = [found.key async for found in store.list(prefix)]
        about = "/".join(deleted[prefix].request)
        return Violation("output", about, f"was deleted, and {', '.join(rest)} is there", len(rest)) if rest else None

    async with ObjectStore(settings) as store:
        looks = [look(store, key) for key in wanted] + [look_for_rest(store, prefix) for prefix in deleted]
        for found in await asyncio.gather(*looks):
            if found is not None:
                yield found

"""Requests that were refused for a cause that is mended since are made after all, and each of them once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from ops.cli.terminal import ExitCode
from ops.dead_letters.reading import Selection, read_letters
from ops.dead_letters.replay import Replayer, Rules
from schemas.errors import Code
from schemas.settings import Settings
from schemas.signing import Signer
from schemas.tenants import load_tenants
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import Ended, easel

pytestmark = [pytest.mark.system]

REQUESTS = 6


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path, tenants=("acme", "bolt"))
    yield house
    house.close()


async def command(house: House, *arguments: str) -> Ended:
    variables = {**environment(house.settings, 1), "EASEL_TENANTS": str(house.settings.tenants)}
    return await asyncio.to_thread(easel, "dead-letters", *arguments, cwd=house.folder, variables=variables)


async def lines(house: House, *arguments: str) -> list[dict[str, Any]]:
    ended = await command(house, *arguments, "--json")
    assert ended.code in {ExitCode.OK, ExitCode.FAILED}, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


async def until_dead(house: House, count: int) -> None:
    async with asyncio.timeout(30):
        while len(await house.read(house.topics.dead_letters)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_key_that_was_missing(house: House) -> None:
    stage = await house.admission().ready()
    await house.worker().ready()
    known = dict(house.keys)
    house.keys["acme"] = late = ed25519.Ed25519PrivateKey.generate()
    forged = Signer("bolt-1", "EdDSA", late, "bolt", house.settings.installation)
    requests = [house.request("acme") for _ in range(REQUESTS)]
    # One goes the long way: it was moved to its partition before it was refused there.
    misplaced = house.request("acme", partition=((requests[0].partition or 0) + 1) % house.settings.kafka.partitions)
    house.keys["bolt"] = late
    impostor = house.request("bolt")
    assert forged.kid == house.signer("bolt").kid
    house.keys["bolt"] = known["bolt"]
    await house.publish(*requests, misplaced, impostor)
    await until_dead(house, REQUESTS + 2)

    listed = await lines(house, "list")
    assert Counter(one["data"]["cause"]["code"] for one in listed) == {Code.SIGNATURE_INVALID: REQUESTS + 2}
    assert {one["tenant_unverified"] for one in listed} == {"acme", "bolt"}
    assert {one["replayed_ms"] for one in listed} == {None}
    shown = await command(house, "show", listed[0]["place"])
    assert "signature_invalid" in shown.out
    assert "a red circle" not in shown.out
    assert "a red circle" in (await command(house, "show", listed[0]["place"], "--body")).out

    # Not mended yet: each is refused for its reason, and nothing moves.
    early = await lines(house, "replay", "--all")
    assert Counter((one["outcome"], one["error"]["code"]) for one in early) == {
        ("refused", Code.SIGNATURE_INVALID): REQUESTS + 2
    }

    house.write_tenants(2, {})
    await house.until_log(stage, "applied")
    would = await lines(house, "replay", "--all", "--dry-run")
    assert Counter(one["outcome"] for one in would) == {"would be replayed": REQUESTS + 1, "refused": 1}
    assert await house.read(house.topics.rerouted) == []

    done = await lines(house, "replay", "--all")
    assert Counter(one["outcome"] for one in done) == {"replayed": REQUESTS + 1, "refused": 1}
    assert {one["tenant"] for one in done if one["outcome"] == "replayed"} == {"acme"}
    results = await house.until_ended(REQUESTS + 1)
    assert Counter(one["kind"] for one in results) == {
        "generation.accepted": REQUESTS + 1,
        "generation.succeeded": REQUESTS + 1,
    }
    assert {one["request_id"] for one in results} == {one["request_id"] for one in done if one["request_id"]}
    await house.require_balance()

    # It is noted, so the same command again does nothing; and where it is forced to, nothing is made or charged twice.
    assert sum(one["replayed_ms"] is not None for one in await lines(house, "list")) == REQUESTS + 1
    assert Counter(one["outcome"] for one in await lines(house, "replay", "--all")) == {
        "skipped": REQUESTS + 1,
        "refused": 1,
    }
    again = await lines(house, "replay", "--all", "--again")
    assert Counter(one["outcome"] for one in again) == {"replayed": REQUESTS + 1, "refused": 1}
    results = await house.until(
        lambda found: sum(one["kind"] == "generation.duplicate" for one in found) == REQUESTS + 1
    )
    duplicates = [one for one in results if one["kind"] == "generation.duplicate"]
    assert {one["state"] for one in duplicates} == {"succeeded"}
    assert {one["error"] for one in duplicates} == {None}
    await house.require_balance()

    # When admission has forgotten them, the usage topic still knows that they were accepted.
    rules = Rules(house.settings.kafka, house.settings.installation, load_tenants(house.settings.tenants))
    letters = read_letters(house.settings.kafka, Selection())
    async with Replayer(rules, {}, again=True, dry_run=True, remembered_ms=0) as replayer:
        verdicts = [verdict async for verdict in replayer.run(letters)]
    assert Counter(verdict.error.code for verdict in verdicts if verdict.error) == {
        Code.ALREADY_ENDED: REQUESTS + 1,
        Code.SIGNATURE_INVALID: 1,
    }
    assert [verdict for verdict in verdicts if verdict.replay] == []

"""`easel price`, `cancel`, `delete` and `submit --idempotency-key`, as commands beside real services."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ops.cli.terminal import ExitCode
from schemas.ids import new_id
from schemas.settings import Settings
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import EASEL, Ended, clean_environment, easel, running

pytestmark = [pytest.mark.system]

PROMPT = "a red circle"


def write_key(folder: Path, name: str, key: ed25519.Ed25519PrivateKey) -> Path:
    path = folder / f"{name}.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path, tenants=("acme",), limits={"units_per_day": 1})
    write_key(tmp_path, "acme-1", house.keys["acme"])
    await house.admission().ready()
    yield house
    house.close()


def variables_of(house: House) -> dict[str, str]:
    return {
        **environment(house.settings, 1),
        "EASEL_TENANTS": str(house.settings.tenants),
        "EASEL_TENANT": "acme",
        "EASEL_KEY_FILE": str(house.folder / "acme-1.key"),
        "EASEL_KID": "acme-1",
    }


async def command(house: House, *arguments: str) -> Ended:
    return await asyncio.to_thread(easel, *arguments, cwd=house.folder, variables=variables_of(house))


async def answers(house: House, *arguments: str) -> list[dict[str, Any]]:
    ended = await command(house, *arguments, "--json")
    return [json.loads(line) for line in ended.out.splitlines()]


async def test_a_price(house: House) -> None:
    told = await command(house, "price", PROMPT, "--images", "2")
    assert told.code == ExitCode.OK, told.err
    assert "units of nothing; it would be accepted, 0 before it" in told.out
    [priced] = await answers(house, "price", PROMPT, "--images", "2")
    assert priced["acceptable"]
    assert f"{priced['cost_milliunits'] / 1000:.3f} units" in told.out
    too_much = await command(house, "price", PROMPT, "--images", "10", "--steps", "100", "--size", "256x256")
    assert too_much.code == ExitCode.FAILED
    assert "it would be refused: budget_day_exceeded" in too_much.out
    assert (await command(house, "price", PROMPT, "--images", "11")).code == ExitCode.USAGE
    assert (await command(house, "price", PROMPT, "--model", "missing")).code == ExitCode.FAILED
    assert await house.events(house.topics.usage) == []


async def test_the_same_key_is_the_same_request(house: House) -> None:
    await house.worker().ready()
    first, again = [await answers(house, "submit", PROMPT, "--idempotency-key", "order-7") for _ in range(2)]
    assert first[0]["error"] is None, first
    assert again == first
    other = await command(house, "submit", "a blue square", "--idempotency-key", "order-7")
    assert other.code == ExitCode.FAILED
    assert "idempotency_conflict" in other.err
    assert (await command(house, "submit", "a", "b", "--idempotency-key", "order-7")).code == ExitCode.USAGE
    await house.require_balance()


async def test_ctrl_c_says_how_to_go_on_and_cancel_stops_it(house: House) -> None:
    env = clean_environment(variables_of(house))
    with running(*EASEL, "submit", PROMPT, cwd=house.folder, env=env, stderr=subprocess.PIPE) as waiting:
        assert waiting.stderr is not None
        named = await asyncio.to_thread(waiting.stderr.readline)
        accepted = await house.until(lambda results: [one["kind"] for one in results] == ["generation.accepted"])
        id_ = accepted[0]["request_id"]
        assert id_ in named
        waiting.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(waiting.communicate, None, 20)
    assert waiting.returncode == ExitCode.INTERRUPTED
    assert "the request goes on" in said
    [to_cancel] = [line.split() for line in said.splitlines() if "easel cancel" in line]
    assert to_cancel == ["easel", "cancel", "--tenant", "acme", id_]
    assert "Traceback" not in said

    stopped = await command(house, *to_cancel[1:])
    assert stopped.code == ExitCode.OK, stopped.err
    assert stopped.out.startswith(f"{id_}: ")
    await house.worker().ready()
    await house.until_ended(1)
    late = await command(house, "cancel", id_)
    assert (late.code, late.out) == (ExitCode.FAILED, "")
    assert "already_ended" in late.err
    [known, unknown] = await answers(house, "cancel", id_, new_id())
    assert (known["state"], known["error"]["code"]) == ("canceled", "already_ended")
    assert (unknown["state"], unknown["error"]) == ("unknown", None)
    watched = await answers(house, "watch", "--since", "all", "--count", "3")
    assert [one["type"].split(".")[-2] for one in watched] == ["accepted", "cancel_accepted", "canceled"]
    await house.require_balance()


async def test_delete_asks_first(house: House) -> None:
    await house.worker().ready()
    [made] = await answers(house, "submit", PROMPT)
    id_ = made["request_id"]
    nobody = await command(house, "delete", id_)
    assert nobody.code == ExitCode.USAGE
    assert "--yes" in nobody.err
    done = await command(house, "delete", id_, "--yes")
    assert (done.code, done.out) == (ExitCode.OK, f"{id_}: deleted, 2 objects\n"), done.err
    unknown = await command(house, "delete", new_id(), "--yes")
    assert unknown.code == ExitCode.FAILED
    assert "not_found" in unknown.err
    wrong = await command(house, "delete", "7", "--yes")
    assert wrong.code == ExitCode.FAILED
    assert "id_invalid" in wrong.err


async def test_a_key_that_is_not_known_gets_no_answer_and_is_told_where_to_look(house: House) -> None:
    write_key(house.folder, "stranger", ed25519.Ed25519PrivateKey.generate())
    key = str(house.folder / "stranger.key")
    for name in ("cancel", "price"):
        what = new_id() if name == "cancel" else PROMPT
        ended = await command(house, name, what, "--key", key, "--kid", "acme-1", "--timeout", "2")
        assert ended.code == ExitCode.UNAVAILABLE
        assert "dead letters" in ended.err

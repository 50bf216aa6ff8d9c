"""``easel top``: what the board makes of the records, what fits on a screen, and the command beside a real broker."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from consumer.dead_letters import dead_letter
from ops.top.board import Board, Snapshot
from ops.top.view import Screen
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Accepted, Balance, Event, Failed, Rejected, UsageHeld, UsageSettled
from schemas.fleet import Heartbeat, HeldJob, OpenCount
from schemas.settings import Settings
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.ops.cli_process import easel
from transport.records import Record

NOW_MS = 1_795_262_400_000


def told(event: Event, *, ago_s: float = 1.0, number: int = 0) -> Record:
    headers = tuple(
        (name, value.encode())
        for name, value in (
            ("ce_specversion", "1.0"),
            ("ce_id", f"id-{number}"),
            ("ce_source", "easel"),
            ("ce_type", event.TYPE),
            ("content-type", "application/json"),
        )
    )
    at_ms = NOW_MS - int(ago_s * 1000)
    return Record("t", 0, number, at_ms, event.tenant.encode(), event.model_dump_json().encode(), headers)


def beat(name: str, *, ago_s: float = 0.5, **fields: Any) -> Record:
    content = {"instance": name, "stage": "generation", "pool": "default", "ready": True, **fields}
    value = Heartbeat.model_validate(content).model_dump_json().encode()
    return Record("t.fleet", 0, 0, NOW_MS - int(ago_s * 1000), name.encode(), value, ())


def accepted(who: str, **more: Any) -> Record:
    return told(Accepted(tenant=who, request_id="r", model="m", cost_milliunits=5, position=0, seed=1), **more)


def rejected(who: str, **more: Any) -> Record:
    error = ErrorBody(message="no", type=ErrorType.RATE_LIMIT, code=Code.RATE_LIMITED)
    return told(Rejected(tenant=who, request_id="r", error=error), **more)


def failed(who: str, **more: Any) -> Record:
    error = ErrorBody(message="no", type=ErrorType.SERVER, code=Code.POISON)
    return told(
        Failed(tenant=who, request_id="r", attempt=1, error=error, cost_milliunits=0, refunded_milliunits=5), **more
    )


def balance(period: str, held: int, settled: int) -> Balance:
    return Balance(period=period, held=held, settled=settled, refunded=0, outstanding=held - settled, limit=9_000)


def board() -> Board:
    made = Board()
    counts = {"acme": OpenCount(3, 2), "bolt": OpenCount(0, 1)}
    made.fleet([beat("admission-1", stage="admission", pool=None, partitions=[0, 1, 3], tenants=counts)])
    made.fleet([beat("admission-0", ago_s=20, stage="admission", pool=None, tenants={"acme": OpenCount(90, 90)})])
    held = [HeldJob("acme", "r", 1, "running"), HeldJob("acme", "s", 1, "waiting"), HeldJob("acme", "q", 1, "ended")]
    made.fleet([beat("worker-1", held=held, backlog_milliunits=2_000, models={"m": "r"}), beat("killed", ago_s=20)])
    made.fleet([beat("left"), Record("t.fleet", 0, 1, NOW_MS, b"left", None, ()), beat("long-ago", ago_s=3_000)])
    made.results([accepted("acme"), accepted("acme"), accepted("acme", ago_s=61), rejected("bolt"), failed("acme")])
    usage: dict[str, Any] = {
        "tenant": "acme",
        "request_id": "r",
        "model": "m",
        "month": balance("2026-11", 9_000, 8_000),
    }
    made.usage([told(UsageHeld(**usage, milliunits=500, day=balance("2026-11-21", 700, 0)))])
    made.usage([told(UsageSettled(**usage, milliunits=400, day=balance("2026-11-20", 900, 900)), number=1)])
    odd = Record("t.requests", 0, 7, NOW_MS, None, b"x", ())
    cause = ErrorBody(message="no", type=ErrorType.AUTHENTICATION, code=Code.SIGNATURE_INVALID)
    letter = dead_letter("t.dead-letters", odd, cause, stage="admission", partition=0)
    made.dead_letters([Record("t.dead-letters", 0, 0, NOW_MS - 1_000, None, letter.value, ())])
    return made


def test_the_board_adds_up() -> None:
    seen = board().snapshot(NOW_MS)
    acme, bolt = seen.tenants
    assert (acme.tenant, acme.queued, acme.running, acme.accepted_a_minute, acme.ended_a_minute) == ("acme", 3, 2, 2, 1)
    assert (acme.milliunits_a_minute, acme.day, acme.day_milliunits, acme.day_limit_milliunits) == (
        400,
        "2026-11-21",
        700,
        9_000,
    )
    assert (bolt.refused, bolt.running) == ({"rate_limited": 1}, 1)
    assert [(one.beat.instance, one.state) for one in seen.workers] == [("killed", "silent"), ("worker-1", "ready")]
    assert [(one.beat.instance, one.state) for one in seen.admission] == [
        ("admission-0", "silent"),
        ("admission-1", "ready"),
    ]
    assert seen.dead_letters == {"signature_invalid": 1}
    assert (seen.totals.queued, seen.totals.running, seen.totals.refused_a_minute) == (3, 3, 1)


def test_what_is_old_is_forgotten_and_who_is_silent_counts_no_more() -> None:
    later = board().snapshot(NOW_MS + 70_000)
    assert later.totals.accepted_a_minute == later.totals.queued == 0
    assert later.workers == later.admission == []
    assert later.dead_letters == {"signature_invalid": 1}


def drawn(snapshot: Snapshot, width: int, height: int, *, problem: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True)
    with console.capture() as capture:
        console.print(Screen(snapshot, installation="easel", problem=problem))
    return Text.from_ansi(capture.get()).plain


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
def test_a_busy_installation_fits_on_the_screen(width: int, height: int) -> None:
    busy = Board()
    counts = {f"tenant-{number:03}": OpenCount(number, 1) for number in range(100)}
    busy.fleet([beat("admission-1", stage="admission", pool=None, partitions=list(range(12)), tenants=counts)])
    busy.fleet(beat(f"worker-{number:02}", models={"a-model-of-some-length": "r"}) for number in range(50))
    lines = drawn(busy.snapshot(NOW_MS), width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "tenant-099" in text, "the busiest comes first"
    assert "worker-00" in text
    assert "0-11" in text
    assert text.count("more") == 2


def test_what_stands_in_the_way_is_on_the_screen() -> None:
    assert "! no broker answered" in drawn(board().snapshot(NOW_MS), 80, 24, problem="no broker answered")
    assert "no worker is heard" in drawn(Board().snapshot(NOW_MS), 80, 24)


@pytest.fixture
async def house(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path)
    yield house
    house.close()


async def test_the_command_looks_once_and_ends(house: House) -> None:
    variables = {**environment(house.settings, 0), "EASEL_TENANTS": str(house.settings.tenants)}
    await house.admission().ready()
    await house.publish(*(house.request(who) for who in house.keys))
    await house.until(lambda results: len(results) == len(house.keys))
    said: dict[str, Any] = {}
    for _ in range(20):
        ended = easel("top", "--once", "--json", cwd=house.folder, variables=variables)
        assert ended.code == 0, ended.err
        said = json.loads(ended.out)
        if said["totals"]["running"] == 3:
            break
    assert (said["totals"]["running"], said["totals"]["accepted_a_minute"]) == (3, 3)
    assert {row["tenant"]: row["day_milliunits"] > 0 for row in said["tenants"]} == dict.fromkeys(house.keys, True)
    assert [one["state"] for one in said["admission"]] == ["ready"]
    text = easel("top", "--once", cwd=house.folder, variables=variables).out
    assert "acme" in text
    assert "\x1b" not in text


def test_without_a_terminal_and_without_a_broker_it_is_one_line(tmp_path: Path) -> None:
    variables = {"EASEL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    assert easel("top", cwd=tmp_path, variables=variables).err.strip().endswith("say --once or --json")
    away = easel("top", "--once", cwd=tmp_path, variables=variables)
    assert away.code == 3
    assert "127.0.0.1:1" in away.err
    assert "Traceback" not in away.err

"""The service that keeps results in PostgreSQL is killed at random: no row is missing, and none is there twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import runpy
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import psycopg.sql
import pytest
from aiokafka import ConsumerRecord, TopicPartition

from schemas.settings import Settings
from tests.docs.pages import blocks
from tests.examples.commands import EXAMPLES
from tests.examples.postgres import postgres
from tests.house import TERMINAL, House
from tests.stack import fresh_name

FOLDER = EXAMPLES / "postgres"
[SCHEMA, RUN] = next(block.text.splitlines() for block in blocks("examples/README.md") if "schema.sql" in block.text)
KILLS = 12
REQUESTS_A_KILL = 40
LIMIT_S = 60.0


class Downstream:
    """Instances of the service, each with a name that it keeps when it is started again."""

    def __init__(self, house: House, url: str, folder: Path) -> None:
        kafka = house.settings.kafka
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EASEL_")},
            "EASEL_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "EASEL_KAFKA_PREFIX": kafka.prefix,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.url = url
        self.log = folder / "downstream.log"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = RUN.replace("INSTANCE=a ", f"INSTANCE={name} exec ")
        environment = {**self.environment, "DATABASE_URL": f"{self.url}?application_name={name}"}
        with self.log.open("ab") as log:
            self.running[name] = subprocess.Popen(
                ["bash", "-c", command], cwd=FOLDER, env=environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        assert process.poll() is None, f"it ended by itself:\n{self.log.read_text()}"
        process.kill()
        process.wait()

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Path]]:
    with postgres() as found:
        yield found


@pytest.fixture
def url(server: tuple[str, Path]) -> str:
    """A database of its own, with the tables of the example."""
    (root, programs), name = server, fresh_name()
    with psycopg.connect(root, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    url = f"{root.rpartition('/')[0]}/{name}"
    environment = {**os.environ, "DATABASE_URL": url, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", SCHEMA], cwd=FOLDER, env=environment, check=True, timeout=LIMIT_S)
    return url


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def rows(database: psycopg.Connection, query: LiteralString, *values: str) -> list[tuple[Any, ...]]:
    return database.execute(query, values).fetchall()


async def until(enough: Callable[[], bool], downstream: Downstream) -> None:
    ends = time.monotonic() + LIMIT_S
    while not enough():
        assert time.monotonic() < ends, downstream.log.read_text()[-3000:]
        await asyncio.sleep(0.002)


def succeeded(offset: int) -> ConsumerRecord[bytes, bytes]:
    request_id = str(uuid.UUID(int=offset))
    data = {"tenant": "acme", "request_id": request_id, "cost_milliunits": 7, "outputs": []}
    headers = (("ce_id", request_id.encode()), ("ce_type", b"easel.generation.succeeded.v1"))
    return ConsumerRecord("results", 0, offset, 0, 1, b"acme", json.dumps(data).encode(), None, 4, 1, headers)


async def test_an_instance_that_was_thought_dead_changes_nothing_when_it_comes_back(
    url: str, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    take = runpy.run_path(str(FOLDER / "downstream.py"))["take"]
    partition, records = TopicPartition("results", 0), [succeeded(offset) for offset in range(8)]
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as old,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as new,
    ):
        await take(old, partition, records[:3])
        await take(new, partition, records)
        await take(old, partition, records[3:5])
        await asyncio.gather(take(old, partition, records[5:]), take(new, partition, records[7:]))
        await take(old, partition, records[2:4])
    assert rows(database, "SELECT next_offset FROM easel_positions") == [(8,)]
    assert rows(database, "SELECT requests, milliunits FROM easel_spent") == [(8, 56)]


@pytest.mark.system
async def test_killed_at_random_it_misses_nothing_and_takes_nothing_twice(
    settings: Settings, url: str, database: psycopg.Connection, tmp_path: Path
) -> None:
    house = await House.build(settings, tmp_path)
    downstream = Downstream(house, url, tmp_path)
    chance = random.Random(7)

    def progress() -> list[tuple[Any, ...]]:
        return rows(database, "SELECT sum(next_offset) FROM easel_positions")

    async def moved_on(before: list[tuple[Any, ...]]) -> None:
        await until(lambda: progress() != before, downstream)

    def in_transaction(name: str) -> bool:
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND backend_xid IS NOT NULL"
        return bool(rows(database, query, name))

    try:
        await asyncio.gather(house.admission().ready(), house.worker().ready())
        for name in ("a", "b"):
            downstream.start(name)
        for number in range(KILLS):
            before = progress()
            who = list(house.keys)
            await house.publish(*(house.request(chance.choice(who)) for _ in range(REQUESTS_A_KILL)))
            await moved_on(before)
            if number % 2:
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                name = chance.choice("ab")
            else:
                await until(lambda: in_transaction("a") or in_transaction("b"), downstream)
                name = "a" if in_transaction("a") else "b"
            downstream.kill(name)
            downstream.start(name)

        count = KILLS * REQUESTS_A_KILL
        results = await house.until_ended(count)
        ended = [one for one in results if one["kind"] in TERMINAL]
        await until(lambda: rows(database, "SELECT sum(requests) FROM easel_spent") >= [(count,)], downstream)
        await asyncio.sleep(0.5)  # for what should not come
    finally:
        downstream.close()
        house.close()

    assert sorted((one["ce_id"], one["tenant"], one["request_id"], one["cost_milliunits"]) for one in ended) == sorted(
        rows(database, "SELECT event_id::text, tenant, request_id::text, cost_milliunits FROM easel_ends")
    )
    pictures = sorted((one["ce_id"], output["index"], output["key"]) for one in ended for output in one["outputs"])
    assert pictures == sorted(rows(database, "SELECT event_id::text, number, key FROM easel_pictures"))
    requests = Counter(one["tenant"] for one in ended)
    spent = Counter[str]()
    for one in ended:
        spent[one["tenant"]] += one["cost_milliunits"]
    assert {(tenant, requests[tenant], spent[tenant]) for tenant in requests} == set(
        rows(database, "SELECT tenant, requests, milliunits FROM easel_spent")
    )

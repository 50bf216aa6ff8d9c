"""Kafka Connect with the settings of the example writes what was committed, with the attributes of the events."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from tests.docs.pages import blocks
from tests.examples.commands import EXAMPLES, fetch, require
from tests.installation import ROOT
from tests.stack import make_topic
from transport.records import Outgoing
from transport.transactions import FencedProducer

[*ONCE, RUN] = next(block.text.splitlines() for block in blocks("examples/README.md") if "Connect" in block.text)
KINDS = ("accepted", "succeeded", "failed", "canceled", "rejected")
LIMIT_S = 120.0


class GivenUpError(Exception):
    """The process dies here."""


def event(topic: str, kind: str) -> Outgoing:
    """An event as the contract has it, with an id of its own."""
    type_ = f"easel.generation.{kind}.v1"
    golden: dict[str, Any] = json.loads((ROOT / "tests/schemas/golden_events.json").read_text())
    data = json.dumps(golden[type_]).encode()
    envelope = Envelope(str(uuid.uuid4()), type_, "easel", data, subject=golden[type_]["request_id"])
    return Outgoing(topic, data, key=b"acme", headers=envelope.headers())


def id_of(record: Outgoing) -> str:
    return (dict(record.headers)["ce_id"] or b"").decode()


async def committed(kafka: KafkaSettings, records: list[Outgoing], *, give_up: bool = False) -> None:
    def at(step: str) -> None:
        if give_up and step == "before_commit":
            raise GivenUpError

    producer = FencedProducer(kafka, transactional_id=f"{kafka.prefix}-connect")
    await producer.start()
    try:
        await producer.commit(records, {}, f"{kafka.prefix}.g", at=at)
    except GivenUpError:
        assert give_up
    finally:
        await producer.close()


async def publish(kafka: KafkaSettings) -> list[Outgoing]:
    """What is committed; a transaction that was given up lies between."""
    topic = await make_topic(kafka, partitions=3, name="results")
    records = [event(topic, kind) for kind in KINDS]
    await committed(kafka, records[:3])
    await committed(kafka, [event(topic, "succeeded")], give_up=True)
    await committed(kafka, records[3:])
    return records


@pytest.mark.system
@pytest.mark.timeout(600)  # the first time, jars come over the network
def test_a_sink_sees_each_committed_event_once_and_what_its_headers_say(kafka: KafkaSettings, tmp_path: Path) -> None:
    require("javac", "mvn")
    records = asyncio.run(publish(kafka))
    folder = tmp_path / "connect"
    shutil.copytree(EXAMPLES / "connect", folder, ignore=shutil.ignore_patterns("lib", "classes"))
    environment = {
        **os.environ,
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EASEL_KAFKA_PREFIX": kafka.prefix,
    }
    fetch(" && ".join(ONCE), folder, environment)
    written, log = folder / "results.txt", folder / "connect.log"
    with log.open("w") as output:
        connect = subprocess.Popen(
            ["bash", "-c", f"exec {RUN}"], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        ends = time.monotonic() + LIMIT_S
        while not written.exists() or written.read_text().count("\n") < len(KINDS):
            assert time.monotonic() < ends and connect.poll() is None, log.read_text()[-3000:]
            time.sleep(0.2)
    finally:
        connect.terminate()
        connect.wait(30)

    lines = written.read_text().splitlines()
    found = [re.search(r"ce_id=([0-9a-f-]+)", line) for line in lines]
    assert [one and one[1] for one in found] == [id_of(record) for record in records], lines
    for line, kind in zip(lines, KINDS, strict=True):
        assert f"ce_type=easel.generation.{kind}.v1" in line
        assert "tenant=acme" in line

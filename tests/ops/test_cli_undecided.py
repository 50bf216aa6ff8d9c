"""What is said of requests that no service accepts: those nobody reads, and those in the dead letters."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from consumer.dead_letters import dead_letter
from ops.cli.devfiles import DEV_TENANTS, make_tenants
from ops.cli.terminal import ExitCode
from schemas.connection import KafkaSettings
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.topics import Topics
from tests.ops.cli_process import EASEL, REPOSITORY, clean_environment, easel, running
from transport.kafka import client_options
from transport.records import Record
from transport.topics import ensure_topics


@pytest.fixture
def variables(tmp_path: Path, kafka: KafkaSettings) -> dict[str, str]:
    """An installation on the session's broker, where no service runs."""
    make_tenants(tmp_path / ".easel", DEV_TENANTS)
    return {
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EASEL_KAFKA_PREFIX": kafka.prefix,
        "EASEL_KAFKA_PARTITIONS": str(kafka.partitions),
        "EASEL_KAFKA_JOBS_PARTITIONS": str(kafka.jobs_partitions),
        "EASEL_TENANTS": str(tmp_path / ".easel" / "tenants.yaml"),
        "EASEL_MODELS": str(REPOSITORY / "models.yaml"),
    }


@pytest.fixture
async def topics(kafka: KafkaSettings) -> Topics:
    names = Topics(kafka.prefix)
    await ensure_topics(
        kafka,
        names.specs(
            partitions=kafka.partitions,
            jobs_partitions=kafka.jobs_partitions,
            replication=kafka.replication,
            pools=["default"],
        ),
    )
    return names


async def test_a_request_that_nobody_decides(tmp_path: Path, variables: dict[str, str], topics: Topics) -> None:
    asked = ("submit", "a red circle", "--tenant", DEV_TENANTS[0].id, "--timeout", "8")
    ended = easel(*asked, cwd=tmp_path, variables=variables)
    assert ended.code == ExitCode.UNAVAILABLE, ended.err
    assert "a red circle: request " in ended.err
    assert ended.err.count("nobody has decided this yet") == 1
    assert "nobody had decided request" in ended.err
    assert "goes on" not in ended.err


async def test_dead_letters_are_read_without_their_content(
    tmp_path: Path, kafka: KafkaSettings, variables: dict[str, str], topics: Topics
) -> None:
    cause = ErrorBody(message="no such key", type=ErrorType.AUTHENTICATION, code=Code.SIGNATURE_INVALID)
    refused = Record(topics.requests, 1, 17, 0, b"atelier", b"secret prompt", (("ce_signature", b"token"),))
    letter = dead_letter(topics.dead_letters, refused, cause, stage="admission", partition=0)
    async with AIOKafkaProducer(**client_options(kafka)) as producer:
        for value in (b"not a dead letter", letter.value):
            await producer.send_and_wait(letter.topic, value, partition=letter.partition)
    shown = easel("watch", "--dead-letters", "--count", "1", cwd=tmp_path, variables=variables)
    assert f"signature_invalid: no such key  {topics.requests}[1]@17, 13 bytes" in shown.out
    told = easel("watch", "--dead-letters", "--count", "1", "--json", cwd=tmp_path, variables=variables)
    data = json.loads(told.out)["data"]
    assert (data["cause"]["code"], data["offset"], data["value_bytes"]) == ("signature_invalid", 17, 13)
    assert not {"headers", "value_base64", "key_base64"} & data.keys()
    wrong = easel("watch", "--dead-letters", "--tenant", "atelier", cwd=tmp_path, variables=variables)
    assert wrong.code == ExitCode.USAGE


@pytest.mark.parametrize("prefix", [(), ("env", "--ignore-signal=INT")], ids=["at a terminal", "behind a script's &"])
def test_sigterm_ends_what_follows(
    tmp_path: Path, variables: dict[str, str], topics: Topics, prefix: tuple[str, ...]
) -> None:
    watch = (*prefix, *EASEL, "watch")
    with running(*watch, cwd=tmp_path, env=clean_environment(variables), stderr=subprocess.PIPE) as following:
        assert following.stderr is not None
        assert "Ctrl-C ends it" in following.stderr.readline()
        following.send_signal(signal.SIGTERM)
        assert following.wait(20) == ExitCode.INTERRUPTED
        assert following.stderr.read() == ""

"""The local stack: real processes, found again, ended exactly, and never mistaken for others."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.record.util import calc_crc32c
from minio import Minio
from minio.error import MinioException

from ops.local.cache import silent
from ops.local.errors import LocalStackError
from ops.local.kafka import KafkaPart
from ops.local.process import ProcessRecord, start_detached
from ops.local.stack import Endpoints, Stack
from ops.local.store import StorePart

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"))
    stack.up()
    yield stack
    stack.down()


def states(stack: Stack) -> dict[str, str]:
    return {part.name: part.state for part in stack.status()}


async def test_up_means_that_topics_can_be_made_at_once(stack: Stack) -> None:
    stack.stop("kafka")
    endpoints = stack.up()
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.kafka, request_timeout_ms=5_000)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic("first", num_partitions=3, replication_factor=1)])
    finally:
        await admin.close()
    assert [(name, code) for name, code, *_ in answer.topic_errors] == [("first", 0)]


async def test_a_killed_broker_comes_back_with_its_records_at_the_same_address(stack: Stack) -> None:
    before = stack.endpoints
    producer = AIOKafkaProducer(bootstrap_servers=before.kafka, request_timeout_ms=5_000)
    admin = AIOKafkaAdminClient(bootstrap_servers=before.kafka, request_timeout_ms=5_000)
    await admin.start()
    await producer.start()
    try:
        await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
        first = await producer.send_and_wait("kept", b"before")
    finally:
        await producer.stop()
        await admin.close()

    stack.stop("kafka", hard=True)
    assert states(stack)["kafka"] == "stopped"
    stack.start("kafka")

    assert stack.endpoints == before
    async with AIOKafkaProducer(bootstrap_servers=before.kafka, request_timeout_ms=5_000) as again:
        second = await again.send_and_wait("kept", b"after")
    assert second.offset == first.offset + 1


def assert_only_its_keys_open(endpoints: Endpoints) -> None:
    for secret, opens in ((endpoints.store_secret_key, True), ("another-secret-key", False)):
        client = Minio(endpoint=endpoints.store, access_key=endpoints.store_access_key, secret_key=secret, secure=False)
        if opens:
            client.make_bucket(bucket_name="pictures")
        else:
            with pytest.raises(MinioException, match="SignatureDoesNotMatch"):
                client.list_buckets()
    anonymous = Minio(endpoint=endpoints.store, secure=False)
    with pytest.raises(MinioException, match=r"Access Denied|UnsupportedAlgorithm"):
        anonymous.make_bucket(bucket_name="strangers")


def test_the_store_opens_only_to_its_keys(stack: Stack) -> None:
    assert_only_its_keys_open(stack.up("store"))


def test_up_again_leaves_running_parts_alone(stack: Stack) -> None:
    stack.up()
    before = [part.pid for part in stack.status()]
    stack.up()
    assert [part.pid for part in stack.status()] == before


def test_another_process_finds_the_stack(stack: Stack) -> None:
    stack.up()
    directory = stack.log("kafka").parent.parent
    code = "import sys, pathlib, ops.local.stack as s; print(s.Stack(pathlib.Path(sys.argv[1])).pid('kafka'))"
    answer = subprocess.run(
        [sys.executable, "-c", code, directory], check=True, capture_output=True, text=True, timeout=60
    )
    assert int(answer.stdout) == stack.pid("kafka")


def test_secrets_are_in_files_of_their_owner_alone_and_on_no_command_line(stack: Stack) -> None:
    stack.up()
    secret = stack.endpoints.store_secret_key
    directory = stack.log("store").parent.parent
    assert stat.S_IMODE((directory / "store" / "credentials.json").stat().st_mode) == 0o600
    assert secret not in repr(stack.endpoints)
    for part in stack.status():
        assert part.pid is not None
        assert secret not in " ".join(psutil.Process(part.pid).cmdline())
        assert secret not in part.log.read_text()
        assert stat.S_IMODE(part.log.stat().st_mode) == 0o600


def test_parts_listen_on_the_loopback_interface_only(stack: Stack) -> None:
    stack.up()
    for part in stack.status():
        assert part.pid is not None
        connections = psutil.Process(part.pid).net_connections()
        listening = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
        assert listening, f"{part.name} listens nowhere"
        assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, part.name


def test_down_ends_what_runs_and_says_so(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.up("store")
    pid = stack.pid("store")
    assert stack.down() == ["store"]
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert stack.down() == []
    assert states(stack) == {"kafka": "stopped", "store": "stopped"}


def test_a_part_that_dies_at_its_start_is_named_with_its_log(tmp_path: Path) -> None:
    stack = Stack(tmp_path, kafka_properties={"log.retention.hours": "soon"})
    with pytest.raises(LocalStackError) as caught:
        stack.up("kafka")
    message = str(caught.value)
    assert "soon" in message, "the reason is in the message"
    assert states(stack)["kafka"] == "stopped"


def written_by_a_newer_kafka(data: Path) -> None:
    """The metadata version in the data becomes one that no Kafka has yet."""
    name = b"\x11metadata.version"
    [checkpoint] = [path for path in data.rglob("*.checkpoint") if name in path.read_bytes()]
    content = bytearray(checkpoint.read_bytes())
    at = content.index(name) + len(name)
    content[at : at + 2] = (999).to_bytes(2, "big")
    batch = 0
    while batch < len(content):
        end = batch + 12 + int.from_bytes(content[batch + 8 : batch + 12], "big")
        # From the attributes on; the sum stands before them.
        content[batch + 17 : batch + 21] = calc_crc32c(bytes(content[batch + 21 : end])).to_bytes(4, "big")
        batch = end
    checkpoint.write_bytes(content)


def test_data_of_a_newer_kafka_is_told_in_one_line_with_the_remedy(tmp_path: Path) -> None:
    KafkaPart(tmp_path / "kafka").prepare(silent)
    written_by_a_newer_kafka(tmp_path / "kafka" / "data")
    stack = Stack(tmp_path)
    with pytest.raises(LocalStackError) as refused:
        stack.up("kafka")
    stack.down()
    said = str(refused.value)
    assert "was written by a newer Kafka (metadata version 999)" in said
    assert f"remove {tmp_path / 'kafka'}," in said and "`easel up`" in said
    assert "\n" not in said
    assert stack.pid("kafka") is None


def test_what_an_earlier_start_said_is_no_cause(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.log("kafka").parent.mkdir(parents=True)
    stack.log("kafka").write_text("No MetadataVersion with feature level 33. Valid feature levels are from 7 to 30.\n")
    KafkaPart(tmp_path / "kafka").prepare(silent)
    (tmp_path / "kafka" / "data" / "meta.properties").write_text("version=1\nnode.id=7\n")
    with pytest.raises(LocalStackError) as refused:
        stack.up("kafka")
    stack.down()
    assert "newer Kafka" not in str(refused.value).splitlines()[0]
    assert "Its log" in str(refused.value)


def test_an_address_that_another_server_has_taken_is_refused(tmp_path: Path, stack: Stack) -> None:
    stack.up("store")
    port = stack.endpoints.store.split(":")[1]
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.port").write_text(port)
    with pytest.raises(LocalStackError, match="something else already answers"):
        Stack(tmp_path).up("store")
    assert states(stack)["store"] == "running"


def test_a_hung_broker_does_not_answer(stack: Stack) -> None:
    stack.up("kafka")
    pid = stack.pid("kafka")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert states(stack)["kafka"] == "not answering"
    finally:
        os.kill(pid, signal.SIGCONT)
    stack.up("kafka")
    assert stack.pid("kafka") == pid


def test_a_listener_that_is_no_broker_does_not_answer(tmp_path: Path) -> None:
    part = KafkaPart(tmp_path)
    host, port = part.address.split(":")
    with socket.create_server((host, int(port))):
        started = time.monotonic()
        assert not part.answers()
        assert time.monotonic() - started < 5


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    ours = start_detached([sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ), tmp_path / "log")
    try:
        for other in (
            ProcessRecord(ours.pid, ours.started - 60, ours.command),
            ProcessRecord(ours.pid, ours.started, (*ours.command, "more")),
        ):
            other.stop(hard=True)
            assert ours.find() is not None
    finally:
        ours.stop(hard=True)
    assert ours.find() is None


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    deaf = start_detached([sys.executable, "-c", code], dict(os.environ), tmp_path / "log")
    deadline = time.monotonic() + 10
    while "deaf" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    deaf.stop(limit_s=0.2)
    assert deaf.find() is None


def test_rclone_is_refused_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LocalStackError, match=r"install Go 1\.24"):
        Stack(tmp_path / "tests").up("store")

    stack = Stack(tmp_path / "demo", store_fallback=True)
    try:
        stack.up("store")
        assert states(stack)["store"] == "running"
        pid = stack.pid("store")
        assert pid is not None
        assert stack.endpoints.store_secret_key not in " ".join(psutil.Process(pid).cmdline())
        assert_only_its_keys_open(stack.endpoints)
    finally:
        stack.down()


def test_ports_and_keys_survive_a_restart(tmp_path: Path) -> None:
    assert Stack(tmp_path).endpoints == Stack(tmp_path).endpoints
    first = StorePart(tmp_path / "other", fallback=False)
    assert first.credentials.secret_key != Stack(tmp_path).endpoints.store_secret_key

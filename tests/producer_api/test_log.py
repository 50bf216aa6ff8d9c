"""The process's log: a line a request, with who, what and how it ended, and nothing that must not be in it."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.local.ports import free_port
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from tests.ops.cli_process import running
from tests.producer_api.support import TENANT, Installation, install
from tests.producer_api.test_server import environment
from transport.rotating import RotatingFile

PROMPT = "a wish that nobody else may read"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def alone(tmp_path: Path) -> Installation:
    away = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), store=StoreSettings(endpoint="127.0.0.1:1"))
    return install(away, tmp_path)


def until_live(http: httpx.Client, process: subprocess.Popen[str]) -> None:
    ends_at = time.monotonic() + 40
    while True:
        try:
            http.get("/health/live").raise_for_status()
            return
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < ends_at
            time.sleep(0.1)


def test_a_request_under_way_is_answered_after_sigterm_and_all_is_in_the_log(alone: Installation) -> None:
    port, file = free_port(), alone.settings.tenants.parent / "logs" / "api.log"
    env = {**environment(alone, port), "EASEL_API_LOG_FILE": str(file), "EASEL_API_LEAVE_S": "1.5"}
    headers = {**alone.headers(), "X-Request-Id": "mine-1", "traceparent": TRACE}
    body = json.dumps({"prompt": PROMPT, "model": "easel-tiny"}).encode()
    with (
        running(sys.executable, "-m", "producer_api", env=env, stderr=subprocess.PIPE) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
    ):
        until_live(http, process)
        assert http.post("/v1/generate", content=body, headers=headers | {"Content-Type": "application/json"}).is_error
        assert http.get("/v1/tasks/x?ticket=hidden", headers={"X-API-Key": "a-wrong-key"}).status_code == 401

        with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
            head = f"POST /v1/generate HTTP/1.1\r\nHost: x\r\nAuthorization: {alone.headers()['Authorization']}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            slow.sendall(head.encode() + body[:20])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.4)
            # Readiness first: who asks is still served.
            ready = http.get("/health/ready")
            assert (ready.status_code, ready.json()["reasons"][0]) == (503, "it is ending")
            assert http.get("/health/live").status_code == 200
            time.sleep(1.6)
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(("127.0.0.1", port), timeout=5)
            slow.sendall(body[20:])
            answer = b"".join(iter(lambda: slow.recv(65_536), b""))
        assert b" 503 " in answer.split(b"\r\n")[0]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "service_unavailable"
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said

    text = file.read_text()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for secret in (*alone.keys.values(), "a-wrong-key", PROMPT, "hidden"):
        assert secret not in text
        assert secret not in said
    first, refused, last = (line for line in lines if line["event"] == "request" and "/health" not in line["path"])
    assert (first["method"], first["path"], first["status"]) == ("POST", "/v1/generate", 503)
    assert (first["tenant"], first["caller"]) == (TENANT, f"{TENANT}-http")
    assert (first["request_id"], first["trace_id"]) == ("mine-1", TRACE.split("-")[1])
    assert (first["client"], first["ms"] >= 0, first["sent_bytes"] > 0) == ("127.0.0.1", True, True)
    (asked,) = first["asked"]
    assert asked["type"] == "easel.generation.requested.v1"
    assert asked["prompt_sha256"] == hashlib.sha256(PROMPT.encode()).hexdigest()[:16]
    assert (asked["prompt_chars"], asked["model"], len(asked["body_sha256"])) == (len(PROMPT), "easel-tiny", 64)
    assert (refused["status"], "tenant" in refused) == (401, False)
    assert (last["status"], len(last["request_id"])) == (503, 32)
    assert not any(line.get("path", "").startswith("/health/live") for line in lines)


def test_a_log_file_that_cannot_be_written_is_said_in_one_line(alone: Installation) -> None:
    env = {**environment(alone, 0), "EASEL_API_LOG_FILE": "/proc/none/api.log"}
    ended = subprocess.run([sys.executable, "-m", "producer_api"], env=env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (78, 1)
    assert "EASEL_API_LOG_FILE" in ended.stderr


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "api.log"
    lines = RotatingFile(path, max_bytes=1_000, files=3)
    for number in range(100):
        lines.write(f"line {number:03} {'x' * 40}\n")
    lines.close()
    files = [path.with_name("api.log.2"), path.with_name("api.log.1"), path]
    assert sorted(path.parent.iterdir()) == sorted(files)
    kept = "".join(file.read_text() for file in files).splitlines()
    assert all(len(file.read_bytes()) <= 1_000 for file in files)
    numbers = [int(line.split()[1]) for line in kept]
    assert numbers == list(range(numbers[0], 100))

"""Programs in five languages, with nothing of easel in them: from the signature to the picture, as users run them."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import re
import shlex
import subprocess
import zlib
from pathlib import Path

import pytest

from schemas.connection import KafkaSettings
from tests.examples.commands import EXAMPLES, Example, listed, prepare
from tests.examples.conftest import PARTITIONS, TENANT
from tests.installation import ROOT, Installation
from transport.partitioning import partition_of
from transport.records import Record
from transport.tail import read_partition

KEY = TENANT.id.encode()
HOME = partition_of(KEY, PARTITIONS)
FOREIGN = {"shell": zlib.crc32(KEY) % PARTITIONS, "node": 1}
"""What the libraries choose whose default is not Kafka's own."""

PROMPT = 'a "blue" star\\heart, größer als 蓝色'
RUN_LIMIT_S = 150.0


def run(example: Example, folder: Path, environment: dict[str, str], prompt: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"{example.run} {shlex.quote(prompt)}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )


def about(installation: Installation, topic: str, header: str, request_id: str) -> list[Record]:
    """The records of the topic whose header names the request, in the order of each partition."""
    kafka = KafkaSettings(
        bootstrap_servers=installation.environment["EASEL_KAFKA_BOOTSTRAP_SERVERS"],
        prefix=installation.environment["EASEL_KAFKA_PREFIX"],
    )

    async def read() -> list[Record]:
        found: list[Record] = []
        for partition in range(PARTITIONS):
            async for batch in read_partition(kafka, f"{kafka.prefix}.{topic}", partition):
                found += [record for record in batch if (header, request_id.encode()) in record.headers]
        return found

    return asyncio.run(read())


def test_each_folder_is_in_the_table() -> None:
    clients = {example.folder for example in listed()}
    assert clients == {"python", "node", "java", "go", "shell"}


@pytest.mark.parametrize("example", listed(), ids=lambda example: example.folder)
def test_it_is_short_and_stands_alone(example: Example) -> None:
    text = example.program.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120


def test_python_imports_nothing_of_ours() -> None:
    ours = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()}
    for path in [*EXAMPLES.glob("python/*.py"), *EXAMPLES.glob("postgres/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.partition(".")[0] for name in names} & ours, path


def test_its_packages_are_ours() -> None:
    """What `pip install -r` would bring is what these tests run with."""
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    for path in EXAMPLES.rglob("requirements.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert re.sub(r"\[.*\]", "", line).lower() in pinned, line


@pytest.mark.system
@pytest.mark.timeout(900)  # the first time, packages come over the network
def test_from_the_signature_to_the_picture(
    installation: Installation, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """One test for all languages, so that they share one installation wherever tests are spread over processes."""
    for example in listed():
        with subtests.test(example.folder):
            folder = example.copied(tmp_path)
            environment = prepare(example, folder, installation.environment)
            draws(installation, example, folder, environment)
            says_why_not(example, folder, environment)


def draws(installation: Installation, example: Example, folder: Path, environment: dict[str, str]) -> None:
    done = run(example, folder, environment, PROMPT)
    assert done.returncode == 0, done.stdout + done.stderr
    accepted, succeeded, saved = done.stdout.splitlines()
    request_id, kind = accepted.split()
    assert kind == "easel.generation.accepted.v1"
    assert succeeded == f"{request_id} easel.generation.succeeded.v1"
    [picture] = folder.glob("*.png")
    assert saved == f"{picture.name} {picture.stat().st_size} bytes"
    assert picture.name == f"{request_id}-0.png"
    [_, end] = about(installation, "results", "ce_subject", request_id)
    [output] = json.loads(end.value or b"")["outputs"]
    assert output["sha256"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    [request] = about(installation, "requests", "ce_id", request_id)
    assert json.loads(request.value or b"")["prompt"] == PROMPT
    assert request.key == KEY
    assert request.partition == FOREIGN.get(example.folder, HOME)
    assert (request.partition != HOME) == (example.folder in FOREIGN)


def says_why_not(example: Example, folder: Path, environment: dict[str, str]) -> None:
    refused = run(example, folder, environment, "x" * 2_001)
    assert refused.returncode != 0
    assert refused.stdout.split()[1:] == ["easel.generation.rejected.v1"]
    assert "prompt" in refused.stderr

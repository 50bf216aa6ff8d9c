"""The snippets of the documentation do what the page says, on a real Kafka and a real store."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.ids import time_of
from tests.docs.pages import PAGES, Block, blocks, name_of
from tests.installation import Installation
from tests.producer_api.pictures import drawn, file_of
from transport.objects import ObjectStore

RUNNABLE = [block for page in PAGES for block in blocks(name_of(page)) if block.name]
ENDED_WITHIN_S = 60.0


def named(name: str) -> Block:
    return next(block for block in RUNNABLE if block.name == name)


def script(folder: Path, block: Block) -> list[str]:
    path = folder / f"{block.name}.py"
    path.write_text(block.text, encoding="utf-8")
    return [sys.executable, str(path)]


def line_with(text: str, process: subprocess.Popen[str]) -> str:
    """The first line of output that holds ``text``."""
    killer = threading.Timer(ENDED_WITHIN_S, process.kill)
    killer.start()
    with process:
        try:
            assert process.stdout is not None
            found = next((line for line in process.stdout if text in line), None)
        finally:
            killer.cancel()
            process.kill()
    assert found, f"{text} was not seen within {ENDED_WITHIN_S:g} s"
    return found


def test_a_snippet_of_one_name_is_the_same_everywhere() -> None:
    assert all(block.text == named(block.name or "").text for block in RUNNABLE)


def test_every_python_block_is_run() -> None:
    python = [block for page in PAGES for block in blocks(name_of(page)) if block.language == "python"]
    assert python == RUNNABLE
    assert {block.name for block in python} == {
        "publish",
        "subscribe",
        "sdk",
        "images",
        "sdk-sync",
        "sdk-many",
        "sdk-subscribe",
        "sdk-exactly-once",
        "webhook-receiver",
    }


def test_every_python_block_uses_no_more_than_it_says() -> None:
    for name in ("publish", "subscribe"):
        assert "easel" not in "".join(line for line in named(name).text.splitlines() if "import" in line)


@pytest.mark.system
class TestOnRealParts:
    def test_what_is_published_is_read_by_the_subscriber(self, installation: Installation) -> None:
        request_id = installation.run(script(installation.folder, named("publish"))).strip()
        assert abs(time_of(request_id) / 1000 - time.time()) < 60
        line = line_with(request_id, installation.start(script(installation.folder, named("subscribe"))))
        assert line.split()[:2] == [request_id, "easel.generation.succeeded.v1"]
        key = line.split("'")[1]
        assert self.stored(installation, key)
        [curl] = [block.text for block in blocks("README.md") if block.text.startswith("curl")]
        installation.run(["bash", "-c", f"KEY={key}\n{curl}"])
        picture = (installation.folder / "picture.png").read_bytes()
        assert hashlib.sha256(picture).hexdigest()[:16] in key

    def test_the_openai_package(self, installation: Installation) -> None:
        [export] = [block.text for block in blocks("docs/openai.md") if block.language == "bash"]
        url, key = (line.removeprefix("export ").split("=", 1) for line in export.splitlines())
        assert key[1].startswith("$(cat .easel/keys/")
        port = installation.environment["EASEL_API_PORT"]
        given = {
            url[0]: url[1].replace(":8080/", f":{port}/"),
            key[0]: (installation.folder / key[1].removeprefix("$(cat ").removesuffix(")")).read_text().strip(),
        }
        reader = replace(installation, environment={**installation.environment, **given})
        lines = reader.run(script(installation.folder, named("images"))).splitlines()
        assert lines[-1].startswith("image_generation.completed ")
        for index in range(2):
            assert (installation.folder / f"picture-{index}.png").read_bytes().startswith(b"\x89PNG")

    def test_the_call_over_http(self, installation: Installation) -> None:
        curls = [block.text for block in blocks("docs/http.md") if block.text.startswith("curl")]
        port = installation.environment["EASEL_API_PORT"]
        generate, fetch, wait, batch, follow = (curl.replace(":8080/", f":{port}/") for curl in curls)
        answer = json.loads(installation.run(["bash", "-c", generate]))
        assert answer["state"] == "accepted"
        told = installation.run(["bash", "-c", f"ID={answer['id']}\n{follow}"])
        assert told.strip().splitlines()[-2] == "event: succeeded"
        task, picture = fetch.splitlines()
        ends = time.monotonic() + ENDED_WITHIN_S
        while answer["state"] != "succeeded" and time.monotonic() < ends:
            time.sleep(0.2)
            answer = json.loads(installation.run(["bash", "-c", f"ID={answer['id']}\n{task}"]))
        assert answer["state"] == "succeeded"
        installation.run(["bash", "-c", f"ID={answer['id']}\n{picture}"])
        sha256 = hashlib.sha256((installation.folder / "picture.png").read_bytes()).hexdigest()
        assert [sha256] == [output["sha256"] for output in answer["outputs"]]
        [output] = json.loads(installation.run(["bash", "-c", wait]))["outputs"]
        assert hashlib.sha256(base64.b64decode(output["b64_json"])).hexdigest() == output["sha256"]
        first, again = (json.loads(installation.run(["bash", "-c", batch])) for _ in range(2))
        assert [task["id"] for task in first["tasks"]] == [task["id"] for task in again["tasks"]]

    def test_an_upload(self, installation: Installation) -> None:
        [curl] = [block.text for block in blocks("docs/sources.md") if block.text.startswith("curl")]
        (installation.folder / "photo.jpg").write_bytes(file_of(drawn(), "JPEG"))
        port = installation.environment["EASEL_API_PORT"]
        key = json.loads(installation.run(["bash", "-c", curl.replace(":8080/", f":{port}/")]))["key"]
        assert key.startswith("sources/canvas/")
        assert self.stored(installation, key)

    def test_the_command(self, installation: Installation) -> None:
        installation.run([sys.executable, "-m", "ops.cli", "submit", "a large red circle on a white background"])
        [picture] = (installation.folder / "easel-out").glob("*.png")
        assert picture.read_bytes().startswith(b"\x89PNG")

    def stored(self, installation: Installation, key: str) -> bool:
        """Whether the picture is there, with the content that its key names."""

        async def get() -> bytes:
            async with ObjectStore(installation.store) as objects:
                return await objects.get(key)

        return hashlib.sha256(asyncio.run(get())).hexdigest()[:16] in key

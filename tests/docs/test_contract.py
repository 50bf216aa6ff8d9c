"""The published contract: made by the code of today, read by AsyncAPI's own parser, kept by what was released."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from ops.cli.app import app
from ops.cli.terminal import CommandError
from ops.local.cache import provide
from schemas.asyncapi.changes import breaking
from schemas.asyncapi.document import document, event_shapes
from schemas.asyncapi.examples import EXAMPLES
from schemas.asyncapi.files import contract_files, event_schema, read_contract
from tests.docs.pages import ROOT

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RELEASED = sorted((ROOT / "docs/contract-versions").glob("*.yaml"))
PARSER = "@asyncapi/parser@3.6.3"
PARSE = """
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
const { Parser } = createRequire(process.argv[1] + '/')('@asyncapi/parser');
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
const channels = document ? document.channels().all().map((one) => one.address()) : [];
const messages = document ? document.components().messages().all().map((one) => one.name()) : [];
console.log(JSON.stringify({ channels, messages, diagnostics: diagnostics.map((one) => [one.path, one.message]) }));
"""


def test_it_is_what_the_code_says() -> None:
    for path, content in contract_files(VERSION).items():
        assert (ROOT / "docs" / path).read_text() == content, f"docs/{path}: run `easel asyncapi --write docs`"


def test_there_is_a_schema_for_each_event_and_no_other() -> None:
    assert {path.stem for path in (ROOT / "docs/schema/events").iterdir()} == set(event_shapes())


@pytest.mark.parametrize("name", sorted(event_shapes()))
def test_the_schema_of_an_event_stands_alone(name: str) -> None:
    schema = json.loads(event_schema(name))
    jsonschema.Draft7Validator.check_schema(schema)
    example = EXAMPLES[event_shapes()[name]].model_dump(mode="json", exclude_unset="requested" in name)
    jsonschema.Draft7Validator(schema).validate(example)


@pytest.mark.skipif(shutil.which("npm") is None, reason="AsyncAPI's parser needs Node")
def test_asyncapis_own_parser_has_nothing_against_it(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        subprocess.run(["npm", "install", *quiet, PARSER], cwd=folder, check=True, timeout=180, capture_output=True)

    tools = provide(PARSER.removeprefix("@").replace("/", "-"), fill)
    script = tmp_path / "parse.mjs"
    script.write_text(PARSE.replace("process.argv[1]", json.dumps(str(tools))))
    ended = subprocess.run(
        ["node", str(script), str(ROOT / "docs/asyncapi.yaml")], capture_output=True, text=True, check=True, timeout=60
    )
    said = json.loads(ended.stdout)
    assert said["diagnostics"] == []
    whole = document(VERSION)
    assert said["channels"] == [channel["address"] for channel in whole["channels"].values()]
    assert said["messages"] == list(whole["components"]["messages"])


def test_there_is_a_released_contract() -> None:
    assert RELEASED


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_nothing_that_was_released_is_broken(path: Path) -> None:
    earlier = read_contract(path.read_text())
    assert earlier["info"]["version"] == path.stem
    found = breaking(earlier, document(VERSION))
    assert [str(change) for change in found] == []


class TestCommand:
    def easel(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["asyncapi", *arguments])

    def test_it_prints_what_it_writes(self, tmp_path: Path) -> None:
        self.easel("--write", str(tmp_path))
        assert (
            (tmp_path / "asyncapi.yaml").read_text() == self.easel().stdout == (ROOT / "docs/asyncapi.yaml").read_text()
        )

    def test_a_breaking_change_is_an_error(self, tmp_path: Path) -> None:
        text = (ROOT / "docs/asyncapi.yaml").read_text()
        (tmp_path / "old.yaml").write_text(text.replace("queue_full:", "queue_overfull:"))
        old = self.easel("--against", str(tmp_path / "old.yaml"))
        assert (old.exit_code, old.stdout) == (1, "error codes in results: queue_overfull is gone\n")
        assert self.easel("--against", str(ROOT / "docs/asyncapi.yaml")).exit_code == 0

    @pytest.mark.parametrize("text", [None, "x: 1", "{", "- asyncapi"])
    def test_what_is_no_contract_is_said_to_be_none(self, tmp_path: Path, text: str | None) -> None:
        path = tmp_path / "none.yaml"
        if text is not None:
            path.write_text(text)
        ended = self.easel("--against", str(path))
        assert isinstance(ended.exception, CommandError)
        assert "none.yaml" in str(ended.exception)

    def test_a_schema_of_an_event(self) -> None:
        ended = CliRunner().invoke(app, ["schema", "easel.generation.accepted.v1"])
        assert ended.stdout == event_schema("easel.generation.accepted.v1")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if identifier := given.get("id"):
            self.anchors.add(identifier)
        self.links += [value for name in ("href", "src") if (value := given.get(name))]


class TestPage:
    def read(self) -> _Page:
        page = _Page()
        page.feed((ROOT / "docs/contract.html").read_text())
        return page

    def test_it_needs_no_network_and_no_script(self) -> None:
        page = self.read()
        assert not {link for link in page.links if re.match(r"[a-z]+:|//", link)}
        assert not page.tags & {"script", "link", "img", "iframe"}
        assert "url(" not in (ROOT / "docs/contract.html").read_text()

    def test_its_links_lead_somewhere(self) -> None:
        page = self.read()
        within = {link[1:] for link in page.links if link.startswith("#")}
        assert within <= page.anchors
        assert all((ROOT / "docs" / link).exists() for link in page.links if not link.startswith("#"))

    def test_it_tells_of_every_event(self) -> None:
        text = (ROOT / "docs/contract.html").read_text()
        assert all(f">{name}<" in text or f">{name} " in text for name in event_shapes())

"""Each command that the documentation names exists, with the options that it is given there."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main
from typer.exceptions import TyperException

from ops.cli.app import app
from tests.docs.pages import PAGES, ROOT, blocks, inline_code, name_of

ROOT_COMMAND: Any = typer.main.get_command(app)
NAMED = [
    (name_of(page), text)
    for page in PAGES
    for text in [
        *(code for code in inline_code(name_of(page)) if re.match(r"easel(?: |$)", code)),
        *(
            line.partition(" # ")[0].strip()
            for block in blocks(name_of(page))
            if block.language == "bash"
            for line in block.text.splitlines()
            if re.match(r"easel ", line)
        ),
    ]
]
MADE = [
    (name_of(page), target)
    for page in PAGES
    for text in [*inline_code(name_of(page)), *(block.text for block in blocks(name_of(page)))]
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE)
]


def problem_of(words: list[str], *, whole: bool = True) -> str | None:
    """What the parser has against these words. ``whole``: nothing that is required may be missing."""
    command = ROOT_COMMAND
    words = list(words)
    while words and not words[0].startswith("-") and getattr(command, "commands", None):
        name = words.pop(0)
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    if getattr(command, "commands", None) and not words:
        return None
    try:
        command.make_context(command.name, words)
    except TyperException as error:
        if not whole and type(error).__name__ == "MissingParameter":
            return None
        return str(error)
    return None


@pytest.mark.parametrize(("page", "text"), NAMED)
def test_the_command_is_there(page: str, text: str) -> None:
    assert problem_of(shlex.split(text)[1:], whole=text not in inline_code(page)) is None


@pytest.mark.parametrize(
    "text",
    [
        "frobnicate",
        "up --frobnicate",
        "keys frobnicate",
        "topics --start-at yesterday",
        "topics repartition --to 2",
        "submit",
        "submit x --images",
    ],
)
def test_a_command_that_is_not_there_would_be_noticed(text: str) -> None:
    assert problem_of(shlex.split(text))


@pytest.mark.parametrize("text", ["up", "keys new --alg ES256", "topics --start-at now", "submit x --images 2"])
def test_and_one_that_is_there_passes(text: str) -> None:
    assert problem_of(shlex.split(text)) is None


def test_enough_is_named_for_this_to_mean_something() -> None:
    assert len({text.split()[1] for _, text in NAMED if " " in text}) >= 10


@pytest.mark.parametrize(("page", "target"), MADE)
def test_the_make_target_is_there(page: str, target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)

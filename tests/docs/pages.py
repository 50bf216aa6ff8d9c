"""The documentation as tests look at it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(
    r"(?:^<!-- runnable: (?P<name>[\w-]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``name`` where it is marked to be run."""

    page: str
    language: str
    text: str
    name: str | None


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: str) -> list[Block]:
    return [Block(page, found["language"], found["text"], found["name"]) for found in _FENCE.finditer(read(page))]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def inline_code(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def table_rows(page: str) -> Iterator[list[str]]:
    """The cells of every row of every table, without the rules below the heads."""
    for line in prose(page).splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def first_cells(page: str, head: str) -> list[str]:
    """The first column of the tables whose first column is called ``head``, each name in it by itself."""
    found: list[str] = []
    inside = False
    for line in read(page).splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(f"| {head} |"):
            inside = True
        elif inside:
            found += re.findall(r"`([^`]+)`", line.split("|")[1])
    return found

"""Both READMEs say the same: the same parts, the same commands and snippets, the same links."""

from __future__ import annotations

import re

from tests.docs.pages import blocks, prose, read, table_rows

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def levels(page: str) -> list[int]:
    return [len(hashes) for hashes in re.findall(r"^(#+) ", prose(page), re.MULTILINE)]


def links(page: str) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if target not in (ENGLISH, CHINESE)]


def test_the_same_headings() -> None:
    assert levels(ENGLISH) == levels(CHINESE)


def test_the_same_blocks_to_the_byte() -> None:
    shape = [[(block.language, block.name, block.text) for block in blocks(page)] for page in (ENGLISH, CHINESE)]
    assert shape[0] == shape[1]
    assert len(shape[0]) >= 5


def test_the_same_links_in_the_same_order() -> None:
    assert links(ENGLISH) == links(CHINESE)


def test_the_same_rows() -> None:
    assert len(list(table_rows(ENGLISH))) == len(list(table_rows(CHINESE)))


def test_the_same_commands_in_the_text() -> None:
    named = [re.findall(r"`((?:make|easel) [^`]+)`", prose(page)) for page in (ENGLISH, CHINESE)]
    assert sorted(named[0]) == sorted(named[1])


def test_each_leads_to_the_other() -> None:
    assert f"]({CHINESE})" in read(ENGLISH)
    assert f"]({ENGLISH})" in read(CHINESE)

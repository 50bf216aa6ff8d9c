"""The tests that the documentation names are there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

NAMED = {
    page: re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    for page in ("exactness.md", "security.md", "threat-model.md")
}


def test_some_are_named() -> None:
    assert len(NAMED["exactness.md"]) > 20
    assert len(NAMED["threat-model.md"]) > 20


@pytest.mark.parametrize(("path", "name"), sorted({one for named in NAMED.values() for one in named}))
def test_it_is_there(path: str, name: str) -> None:
    assert re.search(rf"^\s*(async def|def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)

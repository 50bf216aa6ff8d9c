"""The tests that the documentation names are there."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "exactness.md").read_text(encoding="utf-8"))


def test_some_are_named() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_it_is_there(path: str, name: str) -> None:
    assert re.search(rf"^\s*(async def|def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)

"""An installation for the snippets of the documentation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from tests.installation import Installation, installed


@pytest.fixture(scope="module")
def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(stack, tmp_path_factory.mktemp("reader")) as made:
        yield made

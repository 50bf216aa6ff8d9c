"""Transactions are tried by both of Kafka's protocols for them."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["first", "second"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)

"""One installation for the examples of all languages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.cli.devfiles import DevTenant
from ops.local.stack import Stack
from tests.installation import Installation, installed

PARTITIONS = 3
"""No power of two, so that a murmur2 without Kafka's mask differs."""

TENANT = DevTenant("press", "Signs with EdDSA", "EdDSA", {"units_per_day": 1_000})
"""Its name has different partitions by Kafka's murmur2, by the unmasked one, and by CRC-32."""


@pytest.fixture(scope="module")
def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("examples")
    with installed(stack, folder, tenants=[TENANT], partitions=PARTITIONS, services=("admission", "worker")) as made:
        yield made

"""The page for those who come from another service maps what the code maps."""

from __future__ import annotations

import re

from producer_api.classic.answers import STATUSES
from producer_api.classic.body import OTHER_NAMES, ClassicBody
from tests.docs.pages import first_cells, table_rows

NAMED = re.compile(r"`(\w+)`")


def test_every_field_is_mapped_as_it_is() -> None:
    theirs = first_cells("docs/migrating.md", "field here")
    assert theirs == list(ClassicBody.model_fields)
    ours = {their: our for our, their in OTHER_NAMES.items()}
    told = {row[0].strip("`"): row[1].strip("`") for row in table_rows("docs/migrating.md") if len(row) == 3}
    assert {name: told[name] for name in theirs} == {name: ours.get(name, name) for name in theirs}


def test_every_state_has_its_status() -> None:
    statuses = first_cells("docs/migrating.md", "status here")
    told = {
        state: row[0].strip("`")
        for row in table_rows("docs/migrating.md")
        if row[0].strip("`") in statuses
        for state in NAMED.findall(row[1])
    }
    assert told == STATUSES

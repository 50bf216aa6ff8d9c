"""The page about OpenAI's API says what the code does."""

from __future__ import annotations

from producer_api.openai.body import ImagesBody
from producer_api.openai.errors import THEIR_CODES
from tests.docs.pages import first_cells, read, table_rows

OURS = ("negative_prompt", "seed", "steps", "guidance", "adapters", "priority", "metadata")


def test_every_field_is_listed_and_no_other() -> None:
    assert sorted(first_cells("docs/openai.md", "field")) == sorted(set(ImagesBody.model_fields) - set(OURS))
    assert ", ".join(f"`{name}`" for name in OURS) in read("docs/openai.md")


def test_the_codes_are_those_that_are_told() -> None:
    listed = {
        ours.strip("`"): row[0].strip("`")
        for row in table_rows("docs/openai.md")
        if row[0].strip("`") in THEIR_CODES.values()
        for ours in row[1].split(", ")
    }
    assert listed == dict(THEIR_CODES)

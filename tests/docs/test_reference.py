"""What the documentation lists is what the code has: nothing missing, nothing made up."""

from __future__ import annotations

import inspect
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from consumer.metrics import render_markdown
from producer_api.errors import status_of
from schemas import events, jobs, previews, requests
from schemas.asyncapi.codes import IN_DEAD_LETTERS, ON_RESULTS
from schemas.catalog import ModelCard
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Rejected, Succeeded
from schemas.requests import GenerationRequest, Parameters
from schemas.settings import Settings
from schemas.tenants import Limits
from schemas.topics import Topics
from tests.docs.pages import PAGES, ROOT, blocks, first_cells, inline_code, name_of, read, table_rows
from transport.partitioning import partition_of

EVENT_TYPES: set[str] = {
    GenerationRequest.TYPE,
    *(
        vars(shape)["TYPE"]
        for module in (events, jobs, previews, requests)
        for _, shape in inspect.getmembers(module, inspect.isclass)
        if "TYPE" in vars(shape)
    ),
}
SDK_VARIABLES = {"EASEL_TENANT", "EASEL_KID", "EASEL_KEY_FILE", "EASEL_KEY", "EASEL_OWN_TOPIC"}
SECRETS = {
    "EASEL_KAFKA_PASSWORD",
    "EASEL_KAFKA_CLIENT_SECRET",
    "EASEL_STORE_ACCESS_KEY",
    "EASEL_STORE_SECRET_KEY",
    "EASEL_API_SIGNING_KEY",
    "EASEL_API_TOKEN_SECRET",
}


def settings_of(shape: type[BaseModel] = Settings, prefix: str = "EASEL_") -> dict[str, Any]:
    """Variable → default."""
    found: dict[str, Any] = {}
    for name, field in shape.model_fields.items():
        if isinstance(field.default, BaseModel):
            found |= settings_of(type(field.default), f"{prefix}{name.upper()}_")
        else:
            found[f"{prefix}{name.upper()}"] = field.default
    return found


class TestSettings:
    def test_every_setting_is_listed_with_its_default(self) -> None:
        listed = {
            row[0].strip("`"): row[1].strip("`") for row in table_rows("docs/settings.md") if row[0] != "variable"
        }
        expected = {
            name: "not set" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
            for name, default in settings_of().items()
        }
        assert {name: re.sub(r"\.0$", "", value) for name, value in expected.items()} == listed

    @pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
    def test_every_variable_that_is_named_is_one(self, page: str) -> None:
        known = settings_of().keys() | SDK_VARIABLES | {f"{name}_FILE" for name in SECRETS}
        named = set(re.findall(r"EASEL_[A-Z0-9_]*[A-Z0-9]", read(page)))
        assert {name for name in named - known if not any(other.startswith(f"{name}_") for other in known)} == set()


def test_the_metrics_are_those_of_the_code() -> None:
    assert read("docs/metrics.md").endswith(f"\n\n{render_markdown()}")


class TestEvents:
    def test_every_field_of_a_request_is_listed_and_no_other(self) -> None:
        assert sorted(first_cells("docs/events.md", "field")) == sorted(GenerationRequest.model_fields)

    def test_every_code_is_listed_and_no_other(self) -> None:
        answers = first_cells("docs/events.md", "code")
        assert sorted(answers) == sorted(ON_RESULTS)
        letters = first_cells("docs/events.md", "dead letter's code")
        assert sorted(letters) == sorted(IN_DEAD_LETTERS)
        assert {*answers, *letters, *first_cells("docs/http.md", "code")} == set(Code)

    def test_the_codes_of_http_have_their_status(self) -> None:
        told = {row[0].strip("`"): int(row[1]) for row in table_rows("docs/http.md") if row[1].isdigit()}
        types = {
            Code.API_KEY_INVALID: ErrorType.AUTHENTICATION,
            Code.LOGIN_INVALID: ErrorType.AUTHENTICATION,
            Code.NOT_FOUND: ErrorType.NOT_FOUND,
            Code.RECORD_TOO_LARGE: ErrorType.INVALID_REQUEST,
            Code.SERVICE_UNAVAILABLE: ErrorType.SERVER,
        }
        assert told == {code: status_of(ErrorBody(message="-", type=type_, code=code)) for code, type_ in types.items()}

    @pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
    def test_every_type_that_is_named_exists(self, page: str) -> None:
        named = set(re.findall(r"easel\.[a-z_.-]+\.v\d+", read(page)))
        assert named <= EVENT_TYPES

    def test_every_event_on_results_and_progress_is_told_of(self) -> None:
        told = read("docs/events.md")
        public = {name for name in EVENT_TYPES if name.startswith("easel.generation.")}
        assert {name for name in public if name not in told} == set()

    def test_the_examples_are_events(self) -> None:
        examples = [json.loads(block.text) for block in blocks("docs/events.md") if block.language == "json"]
        shapes: tuple[type[BaseModel], ...] = (Rejected, Succeeded)
        for shape, example in zip(shapes, examples, strict=True):
            assert shape.model_validate(example).model_dump(mode="json") == example

    def test_the_partitions_are_those_of_kafkas_own_partitioner(self) -> None:
        table = [row for row in table_rows("docs/events.md") if len(row) == 3 and row[1].isdigit()]
        rows = {name.strip("`"): told for name, *told in table}
        assert len(rows) == 4
        for name, told in rows.items():
            assert [int(number) for number in told] == [partition_of(name.encode(), count) for count in (12, 16)]

    def test_the_topics_are_kept_as_long_as_it_says(self) -> None:
        specs = Topics().specs(partitions=1, jobs_partitions=1, replication=1, pools=[], own_topics=["<tenant>"])
        kept = {spec.name: int(spec.config["retention.ms"]) for spec in specs if "retention.ms" in spec.config}
        units = {"days": 86_400_000, "minutes": 60_000}
        table = [row for row in table_rows("docs/events.md") if row[0].startswith("`easel.") and row[-1][:1].isdigit()]
        told = {name: row[1].split() for row in table for name in re.findall(r"`([^`]+)`", row[0])}
        assert len(told) == 6
        assert {name: kept[name] for name in told} == {name: int(n) * units[unit] for name, (n, unit) in told.items()}

    def test_the_refusals_of_quotas_are_codes(self) -> None:
        limits = {name for name in first_cells("docs/quotas.md", "limit") if name.isidentifier()}
        assert limits == set(Limits.model_fields)
        refusals = {row[1].strip("`") for row in table_rows("docs/quotas.md") if row[1].startswith("`")}
        assert {"rate_limited", "budget_day_exceeded", "queue_full"} <= refusals <= {*Code, "retry_after_s"}


def test_the_topics_are_those_that_are_made() -> None:
    made = Topics("easel").specs(
        partitions=1, jobs_partitions=1, replication=1, pools=["<pool>"], own_topics=["<tenant>"]
    )
    assert sorted(first_cells("docs/how-it-works.md", "topic")) == sorted(spec.name for spec in made)


def test_the_costs_in_the_table_are_right() -> None:
    card = ModelCard.model_validate({"pipeline": "m", "defaults": {"width": 96, "height": 96, "steps": 1}})
    rows = [row for row in table_rows("docs/quotas.md") if re.fullmatch(r"\d+ × \d+", row[0])]
    assert len(rows) == 4
    for size, steps, guidance, factor, milliunits in rows:
        width, height = map(int, size.split(" × "))
        parameters = Parameters(
            model="m",
            prompt="p",
            images=1,
            width=width,
            height=height,
            steps=int(steps),
            guidance=float(guidance),
            seed=0,
        )
        assert card.cost_milliunits(parameters, Decimal(factor)) == int(milliunits.replace(",", ""))


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_every_file_that_is_named_is_there(page: str) -> None:
    ours = {path.name for path in ROOT.iterdir()}
    named = {code for code in inline_code(page) if re.fullmatch(r"(?:[a-z_]+/)+[\w.-]*", code)}
    assert {code for code in named if code.split("/")[0] in ours and not (ROOT / code).exists()} == set()


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_it_does_not_install_another_project_of_our_name(page: str) -> None:
    assert not re.search(r"pip install ['\"]?easel\b", read(page))

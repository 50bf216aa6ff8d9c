"""``safety`` in ``models.yaml``: what an operator can write, and how a mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.catalog import HubPipeline
from tests.schemas.files import models, problem_of_models

MODEL = """
    models:
      m:
        pipeline: m
        defaults: {{width: 64, height: 64, steps: 4}}
        safety: {safety}
        previews_every: {previews}
"""


def entry(safety: str, previews: str = "null") -> str:
    return MODEL.format(safety=safety, previews=previews)


def test_a_checker_lies_beside_the_file_or_in_the_hub(tmp_path: Path) -> None:
    local = models(tmp_path, entry("{checker: checkers/sd}")).models["m"].safety
    assert local is not None
    assert (local.checker, local.policy) == (tmp_path / "checkers" / "sd", "block")
    pinned = (
        models(tmp_path, entry(f"{{checker: {{hub: a/b, revision: {'a' * 40}}}, policy: blur}}")).models["m"].safety
    )
    assert pinned is not None
    assert (pinned.checker, pinned.policy) == (HubPipeline(hub="a/b", revision="a" * 40), "blur")


@pytest.mark.parametrize(
    ("safety", "problem"),
    [
        ("{policy: block}", "safety.checker: Field required"),
        ("{checker: x, policy: hide}", "safety.policy: Input should be 'block', 'blur' or 'flag'"),
        ("{checker: {hub: a/b, revision: main}}", "revision: String should match pattern"),
        ("{checker: x, strict: true}", "safety.strict: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_told_by_its_place(tmp_path: Path, safety: str, problem: str) -> None:
    assert problem in problem_of_models(tmp_path, entry(safety))


@pytest.mark.parametrize("policy", ["block", "blur"])
def test_previews_would_show_what_is_held_back(tmp_path: Path, policy: str) -> None:
    assert "models.m.previews_every: previews show" in problem_of_models(
        tmp_path, entry(f"{{checker: x, policy: {policy}}}", "2")
    )


def test_what_is_only_flagged_may_be_seen_early(tmp_path: Path) -> None:
    assert models(tmp_path, entry("{checker: x, policy: flag}", "2")).models["m"].previews_every == 2

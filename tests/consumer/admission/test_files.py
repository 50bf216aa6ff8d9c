"""The files in force, and what stands in for a topic that is not there yet."""

from __future__ import annotations

import json
from pathlib import Path

from consumer.admission.files import RuleFiles
from consumer.metrics import Metrics
from schemas.settings import Settings

ROOT = Path(__file__).parents[3]


def test_until_its_own_topic_exists_the_shared_one_serves(tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text(json.dumps({"version": 1, "tenants": [{"id": "acme", "own_topic": True}]}))
    files = RuleFiles(Settings(tenants=tenants, models=ROOT / "models.yaml"), Metrics())
    assert files.rules(0).own_topics == frozenset()
    assert files.problems() == ["the topic of tenant 'acme' is missing: run `easel topics`"]

    missing = "easel.results.acme is missing"
    assert files.without_own_topic([missing, "easel.usage is missing"]) == [missing]
    assert files.rules(0).own_topics == frozenset()

    assert files.without_own_topic([]) == []
    assert files.rules(0).own_topics == {"acme"}
    assert files.problems() == []

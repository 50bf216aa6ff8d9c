"""The alerting rules that are shipped name metrics and labels that exist."""

from __future__ import annotations

import re

import yaml

from consumer.metric_defs import DEFINITIONS
from tests.docs.pages import ROOT

KNOWN = {definition.name: set(definition.labels) for definition in DEFINITIONS}
RULES = yaml.safe_load((ROOT / "ops/dashboards/alerts.yaml").read_text())["groups"][0]["rules"]


def test_every_metric_and_label_of_a_rule_exists() -> None:
    assert len(RULES) >= 8
    for rule in RULES:
        named = set(re.findall(r"easel_\w+", rule["expr"]))
        metrics = {name.removesuffix("_bucket") for name in named}
        assert metrics, rule["alert"]
        assert metrics <= KNOWN.keys(), rule["alert"]
        labels = set().union(*(KNOWN[name] for name in metrics)) | {"le"}
        grouped = set(re.findall(r"by \(([\w, ]+)\)", rule["expr"]))
        assert {label.strip() for group in grouped for label in group.split(",")} <= labels, rule["alert"]
        assert set(re.findall(r"{(\w+)=", rule["expr"])) <= labels, rule["alert"]
        assert set(re.findall(r"labels\.(\w+)", rule["annotations"]["summary"])) <= labels, rule["alert"]

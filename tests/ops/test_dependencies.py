"""The packages beside easel are pinned and listed, and the list tells nothing of the machine that made it."""

from __future__ import annotations

import json
import re
from typing import Any

from ops.dependencies import CONSTRAINTS, SBOM, cleaned, differences, listed, normal, pinned

PINS = pinned(CONSTRAINTS.read_text(encoding="utf-8"))
LIST: dict[str, Any] = json.loads(SBOM.read_text(encoding="utf-8"))


def test_the_list_is_of_the_pinned_packages() -> None:
    assert differences(listed(LIST), PINS, "docs/sbom.json") == []
    assert len(PINS) > 100


def test_each_has_a_purl_and_most_a_license() -> None:
    purls = {normal(component["purl"].removeprefix("pkg:pypi/")) for component in LIST["components"]}
    assert purls == {normal(f"{name}@{version}") for name, version in PINS.items()}
    assert sum(bool(component.get("licenses")) for component in LIST["components"]) > 0.9 * len(PINS)


def test_it_is_cyclonedx_and_names_neither_hosts_nor_paths() -> None:
    assert LIST["bomFormat"] == "CycloneDX"
    assert {edge["ref"] for edge in LIST["dependencies"]} == {one["bom-ref"] for one in LIST["components"]}
    assert not re.search(r"://|file:|/home/|/work/|/root/|/tmp/", SBOM.read_text(encoding="utf-8"))


def test_what_differs_is_told() -> None:
    assert differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}, "here") == [
        "b: here has 2, constraints.txt 9",
        "c: here has 3, constraints.txt none",
        "d: here has none, constraints.txt 4",
    ]


def test_pins_are_read_whatever_their_spelling() -> None:
    assert pinned("# made by pip\nPy_JWT==2.0\nuuid.utils==1\n") == {"py-jwt": "2.0", "uuid-utils": "1"}


def test_only_what_is_pinned_is_listed() -> None:
    made = {
        "specVersion": "1.6",
        "components": [
            {"type": "library", "bom-ref": "a==1", "name": "A", "version": "1", "purl": "pkg:pypi/a@1", "x": "/tmp/a"},
            {"type": "library", "bom-ref": "b==1", "name": "b", "version": "1"},
        ],
        "dependencies": [{"ref": "a==1", "dependsOn": ["b==1"]}, {"ref": "b==1"}],
    }
    found = cleaned(made, {"a": "1"})
    assert found["components"] == [
        {"type": "library", "bom-ref": "a==1", "name": "A", "version": "1", "purl": "pkg:pypi/a@1"}
    ]
    assert found["dependencies"] == [{"ref": "a==1", "dependsOn": []}]

"""What is installed beside easel: is it what was pinned, is it listed, and is anything known against it.

``python -m ops.dependencies audit`` (``make audit``) and ``sbom`` (``make sbom``). The tools live in an environment of
their own, ``.venv-audit``: what looks at the packages is not one of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

__all__ = ["cleaned", "differences", "listed", "normal", "pinned"]

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS, SBOM = ROOT / "constraints.txt", ROOT / "docs" / "sbom.json"
_TOOLS = ROOT / ".venv-audit" / "bin"
_LIMIT_S = 300.0
_KEPT = ("type", "bom-ref", "name", "version", "purl", "licenses")


def normal(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, str]:
    """Package → version, of a constraints file."""
    pairs = (line.split("==", 1) for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {normal(name.strip()): version.strip() for name, version in pairs}


def listed(sbom: dict[str, Any]) -> dict[str, str]:
    """Package → version, of an SBOM."""
    return {normal(component["name"]): component["version"] for component in sbom["components"]}


def differences(there: dict[str, str], wanted: dict[str, str], where: str) -> list[str]:
    """A line for each package that has another version than its pin, or that only one side has."""
    return [
        f"{name}: {where} has {there.get(name, 'none')}, constraints.txt {wanted.get(name, 'none')}"
        for name in sorted(there.keys() | wanted.keys())
        if there.get(name) != wanted.get(name)
    ]


def cleaned(sbom: dict[str, Any], pins: dict[str, str]) -> dict[str, Any]:
    """An SBOM of the pinned packages alone, without what differs from machine to machine: paths, times, addresses."""
    components = [
        {key: component[key] for key in _KEPT if key in component}
        for component in sbom["components"]
        if normal(component["name"]) in pins
    ]
    known = {component["bom-ref"] for component in components}
    edges = [
        {"ref": edge["ref"], "dependsOn": sorted(known.intersection(edge.get("dependsOn", ())))}
        for edge in sbom["dependencies"]
        if edge["ref"] in known
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": sbom["specVersion"],
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "easel"}},
        "components": components,
        "dependencies": edges,
    }


def _audit() -> int:
    pins = pinned(CONSTRAINTS.read_text(encoding="utf-8"))
    installed = {normal(one.metadata["Name"]): one.version for one in distributions()}
    # What somebody has installed beside the pins is their business; what is absent is an extra that they don't use.
    both = installed.keys() & pins.keys()
    here, meant = ({name: versions[name] for name in both} for versions in (installed, pins))
    wrong = differences(here, meant, "this environment")
    wrong += differences(listed(json.loads(SBOM.read_text(encoding="utf-8"))), pins, "docs/sbom.json")
    wrong += _known_vulnerabilities()
    for line in wrong:
        print(line)
    if not wrong:
        print(f"{len(pins)} packages are pinned and listed; those installed are the pinned ones")
    return 1 if wrong else 0


def _known_vulnerabilities() -> list[str]:
    tool = _TOOLS / "pip-audit"
    if not tool.exists():
        print("known vulnerabilities were not looked up: `make sbom` installs pip-audit")
        return []
    command = [str(tool), "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LIMIT_S)
        found = json.loads(answer.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("known vulnerabilities could not be looked up: no answer from the service")
        return []
    skipped = sum("skip_reason" in package for package in found)
    print(f"known vulnerabilities were looked up for {len(found) - skipped} packages; the service knows {skipped} not")
    return [
        f"{package['name']} {package['version']}: {problem['id']}, mended in {', '.join(problem['fix_versions'])}"
        for package in found
        for problem in package.get("vulns", ())
    ]


def _sbom() -> int:
    tool = str(_TOOLS / "cyclonedx-py")
    command = [tool, "environment", "--output-reproducible", "--output-format", "JSON", sys.executable]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LIMIT_S)
    pins = pinned(CONSTRAINTS.read_text(encoding="utf-8"))
    sbom = cleaned(json.loads(made.stdout), pins)
    missing = differences(listed(sbom), pins, "this environment")
    if missing:
        print("install every extra first (`make setup`):", *missing, sep="\n", file=sys.stderr)
        return 1
    SBOM.write_text(json.dumps(sbom, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit({"audit": _audit, "sbom": _sbom}[sys.argv[1]]())

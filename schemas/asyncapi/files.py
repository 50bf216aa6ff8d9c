"""The files in which the contract is published: the AsyncAPI document, a JSON Schema of each event, and a page."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import yaml

from schemas.asyncapi.document import document, event_shapes
from schemas.asyncapi.page import page
from schemas.asyncapi.shapes import standalone

__all__ = ["contract_files", "event_schema", "read_contract", "to_yaml"]


def contract_files(version: str) -> dict[PurePosixPath, str]:
    """Path below ``docs`` → content."""
    whole = document(version)
    return {
        PurePosixPath("asyncapi.yaml"): to_yaml(whole),
        PurePosixPath("contract.html"): page(whole),
        **{PurePosixPath("schema/events") / f"{name}.json": event_schema(name) for name in event_shapes()},
    }


def event_schema(event_type: str) -> str:
    """The JSON Schema (draft 7) of an event's data. Raises ``KeyError`` for a type that is not public."""
    return json.dumps(standalone(event_shapes()[event_type], event_type), indent=2, ensure_ascii=False) + "\n"


def to_yaml(content: dict[str, Any]) -> str:
    """The content as YAML: in its order, text of several lines as a block."""
    return str(yaml.dump(content, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=110))


def read_contract(text: str) -> dict[str, Any]:
    """An AsyncAPI document in YAML or JSON. Raises ``ValueError`` for anything else."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {error}") from None
    if not isinstance(found, dict) or "asyncapi" not in found or "components" not in found:
        raise ValueError("it is not an AsyncAPI document")
    return found


class _Blocks(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text)

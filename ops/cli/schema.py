"""``easel schema``: JSON Schemas of the files that people write."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

import typer

from schemas.json_schema import json_schema

__all__ = ["schema"]


def schema(name: Annotated[Literal["models", "tenants"], typer.Argument(help="Of which file.")]) -> None:
    """Print the JSON Schema of tenants.yaml or models.yaml, by which editors complete and check it."""
    sys.stdout.write(json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n")

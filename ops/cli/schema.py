"""``easel schema``: JSON Schemas of the files that people write, and of the events that other systems exchange."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from schemas.json_schema import FILES, json_schema

__all__ = ["schema"]


def schema(
    name: Annotated[str, typer.Argument(help="A file (models, tenants), or a type of event.")],
) -> None:
    """Print the JSON Schema of tenants.yaml or models.yaml, by which editors complete and check it, or of an event."""
    if name in FILES:
        sys.stdout.write(json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n")
        return
    from schemas.asyncapi.document import event_shapes
    from schemas.asyncapi.files import event_schema

    if name not in event_shapes():
        raise typer.BadParameter(f"{name!r} is none of {', '.join([*FILES, *event_shapes()])}", param_hint="NAME")
    sys.stdout.write(event_schema(name))

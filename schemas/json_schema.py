"""JSON Schemas of the files that people write, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from schemas.catalog import Catalog
from schemas.tenants import TenantsFile

__all__ = ["FILES", "json_schema"]

FILES: dict[str, type[BaseModel]] = {"models": Catalog, "tenants": TenantsFile}
"""Name of the file, without its ending → its shape."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(name: str) -> dict[str, Any]:
    """The schema of ``<name>.yaml``. Raises ``KeyError`` for a file that is not in ``FILES``."""
    schema = FILES[name].model_json_schema()
    return {"$schema": _DIALECT, **schema, "title": f"{name}.yaml"}

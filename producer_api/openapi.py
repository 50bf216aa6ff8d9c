"""The OpenAPI document, and the page that shows it without asking anyone else for its scripts."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import as_file, files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic.json_schema import models_json_schema

from producer_api.body import GenerateBody
from producer_api.classic.body import ClassicBody
from producer_api.openai.body import EditBody, ImagesBody
from producer_api.openapi_examples import ERRORS, example_of
from schemas.errors import ErrorShape

__all__ = ["describe"]

_ASSETS = "/docs/assets"
_REF = "#/components/schemas/{model}"
_TAGS = [
    {"name": "generation", "description": "Ask for pictures. What is answered is what admission decided."},
    {"name": "tasks", "description": "Follow a request to its pictures."},
    {"name": "as OpenAI", "description": "For programs written for OpenAI's Images API."},
    {"name": "as before", "description": "For clients of the services that easel replaces."},
    {"name": "signing in", "description": "For users with a name and a password."},
    {"name": "operation", "description": "For probes and Prometheus; without a key."},
]
_MEANINGS = {
    400: "The request is not valid; `param` names the field.",
    401: "The API key is missing, unknown or withdrawn.",
    403: "The tenant may not do this.",
    404: "There is no such thing, or it is not yours.",
    408: "The body did not arrive in time.",
    409: "It does not fit what is there: the request id belongs to another body, or the task has ended, or has not.",
    410: "The pictures of the task were deleted, or nothing is known any more of a task of that age.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    416: "The picture has no such part: `Content-Range` says how long it is.",
    422: "The `Idempotency-Key` came before, with another body.",
    429: "A limit of the tenant: rate, budget or queue. `Retry-After` says when to come back, where that is known.",
    500: "The pictures could not be made, or something went wrong here.",
    503: "Kafka or the object store does not answer: try again after `Retry-After`.",
    504: "The pictures are not done yet, and the task goes on; the error names it.",
}


def describe(app: FastAPI) -> None:
    """Serve ``/openapi.json`` with every error in the one shape, and ``/docs``, which works offline."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    # A wheel keeps its files unpacked, so the path outlives the context.
    with as_file(files("fastapi_offline") / "static") as folder:
        app.mount(_ASSETS, StaticFiles(directory=folder), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return found

    found = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{app.title} – API",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
    )
    found.headers["Content-Security-Policy"] = _policy(bytes(found.body))


def _policy(page: bytes) -> str:
    """Its own scripts, named by their hashes, and nothing else; Swagger UI also writes styles, and icons as data."""
    inline = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in inline)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=_TAGS
    )
    _, posted = models_json_schema(
        [(shape, "validation") for shape in (GenerateBody, ImagesBody, EditBody, ClassicBody)], ref_template=_REF
    )
    _, told = models_json_schema([(ErrorShape, "serialization")], ref_template=_REF)
    schemas = found["components"]["schemas"]
    schemas.update(posted["$defs"] | told["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, schema in schemas.items():
        if (example := example_of(name)) is not None:
            schema["examples"] = [example]
    for path in found["paths"].values():
        for operation in path.values():
            _describe_errors(operation)
    _link_tasks(found["paths"])
    return found


def _link_tasks(paths: dict[str, Any]) -> None:
    """Say what may be done with the ``id`` that a request is answered with."""
    links = {}
    for path, operations in paths.items():
        for operation in operations.values():
            names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            if path.startswith("/v1/tasks/") and "id" in names:
                given = {"id": "$response.body#/id"} | ({"index": 0} if "index" in names else {})
                links[operation["operationId"]] = {"operationId": operation["operationId"], "parameters": given}
    paths["/v1/generate"]["post"]["responses"]["202"]["links"] = links


def _describe_errors(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    # The framework's own refusal of a parameter is answered as 400, in our shape; only that one has content already.
    if "HTTPValidationError" in str(answers.get("422", {}).get("content")):
        del answers["422"]
        answers.setdefault("400", {})
    if operation.get("security"):
        answers.setdefault("401", {})
    for status, answer in answers.items():
        meaning = _MEANINGS.get(int(status))
        if meaning is None or answer.get("content"):
            continue
        content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/ErrorShape"}}
        example = ERRORS.get(int(status))
        if example is not None:
            content["example"] = {"error": example.model_dump(mode="json")}
        answer.update(description=meaning, content={"application/json": content})

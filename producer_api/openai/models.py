"""The models as clients of OpenAI see them: by their own names, and by aliases."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel

from producer_api.errors import ApiError, unavailable
from producer_api.services import Services
from schemas.catalog import Catalog, ModelCard
from schemas.errors import Code, EaselError, ErrorBody, ErrorType

__all__ = ["Chosen", "Model", "Models", "chosen", "model_of", "models_of"]


class Model(BaseModel):
    """One of ``/v1/models``. ``created``: when the catalogue was last changed, in seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


class Chosen(NamedTuple):
    """The model that a request means."""

    name: str
    card: ModelCard


def models_of(services: Services, tenant: str) -> Models:
    """Those that a tenant may use. Raises ``ApiError`` (503) without a catalogue."""
    catalog, path = _catalog(services), services.settings.models
    names = [*_allowed(services, tenant, catalog), *sorted(catalog.aliases)]
    since = _changed_at(path)
    allowed = {name for name in names if catalog.aliases.get(name, name) in _allowed(services, tenant, catalog)}
    installation = services.settings.installation
    return Models(data=[Model(id=name, created=since, owned_by=installation) for name in names if name in allowed])


def model_of(services: Services, tenant: str, name: str) -> Model:
    """One of them. Raises ``ApiError`` (404)."""
    for model in models_of(services, tenant).data:
        if model.id == name:
            return model
    raise ApiError(
        ErrorBody(
            message=f"there is no model {name!r}", type=ErrorType.NOT_FOUND, param="model", code=Code.MODEL_NOT_FOUND
        )
    )


def chosen(services: Services, tenant: str, name: str | None) -> Chosen:
    """The model of this name or alias; where none is named and the tenant may use only one, that one.

    Raises ``EaselError(model_not_found)``, and ``ApiError`` (503) without a catalogue.
    """
    catalog = _catalog(services)
    if name is None:
        allowed = _allowed(services, tenant, catalog)
        if len(allowed) != 1:
            raise EaselError(
                Code.INVALID_REQUEST, f"model: say which: {', '.join(allowed) or 'there is none'}", param="model"
            )
        name = allowed[0]
    name = catalog.aliases.get(name, name)
    return Chosen(name, catalog.card(name))


def _catalog(services: Services) -> Catalog:
    if services.catalog is None:
        raise unavailable("the API has no catalogue of models: its operator sets EASEL_MODELS")
    return services.catalog.content


def _allowed(services: Services, tenant: str, catalog: Catalog) -> list[str]:
    entry = services.keyring.tenant(tenant)
    limited = None if entry is None else entry.models
    return [name for name in sorted(catalog.models) if limited is None or name in limited]


def _changed_at(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0

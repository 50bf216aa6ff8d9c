"""``tenants.yaml``: who may ask, with which keys, for how much.

The file is what an operator writes (``TenantsFile``); ``Directory`` is what services look things up in. Keys are read
when the file is, so a key that can't be used is an error of the file, not of the first request that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from schemas.prompt_rules import PromptRule, RuleName, require_known_names, with_words
from schemas.requests import Priority
from schemas.signing import KeyEntry
from schemas.tenant_keys import Key, KeyId, material_of
from schemas.webhook_entries import Endpoint, RequestWebhooks
from schemas.yaml_file import ConfigError, Location, MisplacedError, read_yaml

__all__ = ["ApiCaller", "ApiKey", "Directory", "Issuer", "Limits", "Tenant", "TenantId", "TenantsFile", "load_tenants"]

TenantId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Units = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=3)]
"""Units as people write them, to a thousandth; kept as integer milli-units."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKey(_Entry):
    """A key for the HTTP API, known by its hash: the key itself is shown once, when it is made."""

    id: KeyId
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Limits(_Entry):
    """What a tenant may use. Absent means without limit, but for the queue, which is always bounded."""

    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may come at once; a minute's worth when absent."""
    units_per_day: Units | None = None
    units_per_month: Units | None = None
    queued: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    running: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may be with the fleet at a time; the others wait, and those of other tenants go ahead."""
    images: Annotated[int, Field(ge=1, le=10)] | None = None
    pixels: Annotated[int, Field(ge=256)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _burst_needs_a_rate(self) -> Limits:
        if self.burst is not None and self.requests_per_minute is None:
            raise ValueError("burst needs requests_per_minute")
        return self

    @property
    def day_milliunits(self) -> int | None:
        return None if self.units_per_day is None else int(self.units_per_day * 1000)

    @property
    def month_milliunits(self) -> int | None:
        return None if self.units_per_month is None else int(self.units_per_month * 1000)


class Tenant(_Entry):
    """One customer of the fleet."""

    id: TenantId
    name: str = ""
    status: Literal["active", "suspended"] = "active"
    """Of a suspended tenant nothing new is accepted; what runs goes on."""
    when_suspended: Literal["keep", "cancel"] = "keep"
    """What becomes of its queued requests: ``keep`` lets them have their turn, ``cancel`` ends them and refunds."""
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Its share of a busy fleet: a tenant of weight 2 gets twice the units of one of weight 1."""
    models: list[str] | None = None
    """The models it may use; all when absent."""
    priorities: list[Priority] | None = None
    """The priorities that it may ask for; all when absent."""
    limits: Limits = Limits()
    price_factor: Annotated[Decimal, Field(ge=0, max_digits=9, decimal_places=3)] = Decimal(1)
    cached_price_factor: Annotated[Decimal, Field(ge=0, max_digits=9, decimal_places=3)] = Decimal(0)
    """Part of the price that is charged for an answer from an earlier result: nothing by default."""
    time_zone: str = "UTC"
    """Where its days and months begin."""
    own_topic: bool = False
    """Its results also go to ``<prefix>.results.<tenant>``."""
    prompt_rules: tuple[PromptRule, ...] = ()
    """What its own prompts may not hold, besides what the rules for all say."""
    exempt_from: frozenset[RuleName] = frozenset()
    """Rules for all that don't apply to it."""
    keys: list[Key] = Field(default_factory=list)
    api_keys: list[ApiKey] = Field(default_factory=list)
    webhooks: Annotated[tuple[Endpoint, ...], Field(max_length=20)] = ()
    """Where its results are posted."""
    request_webhooks: RequestWebhooks | None = None
    """Whether its requests may name a URL of their own, and on which hosts; none when absent."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone of the IANA data base, such as Asia/Shanghai") from None
        return name


class Issuer(_Entry):
    """Someone who may speak for several tenants, such as the HTTP shim."""

    id: KeyId
    tenants: list[TenantId] | Literal["*"]
    keys: Annotated[list[Key], Field(min_length=1)]


class TenantsFile(_Entry):
    """The file. ``version`` grows with each change: an older file never undoes what a newer one decided."""

    version: Annotated[int, Field(ge=1)]
    tenants: Annotated[list[Tenant], Field(min_length=1)]
    issuers: list[Issuer] = Field(default_factory=list)
    prompt_rules: tuple[PromptRule, ...] = ()
    """What no tenant's prompts may hold."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> TenantsFile:
        tenants, issuers = list(enumerate(self.tenants)), list(enumerate(self.issuers))
        _require_unique("tenant", [(tenant.id, ("tenants", i, "id")) for i, tenant in tenants])
        _require_unique(
            "kid",
            [(key.kid, ("tenants", i, "keys", k, "kid")) for i, owner in tenants for k, key in enumerate(owner.keys)]
            + [(key.kid, ("issuers", i, "keys", k, "kid")) for i, owner in issuers for k, key in enumerate(owner.keys)],
        )
        _require_unique(
            "API key",
            [
                (key.sha256, ("tenants", i, "api_keys", k, "sha256"))
                for i, tenant in tenants
                for k, key in enumerate(tenant.api_keys)
            ],
        )
        for i, tenant in tenants:
            _require_unique(
                f"webhook of {tenant.id}",
                [(endpoint.name, ("tenants", i, "webhooks", k, "name")) for k, endpoint in enumerate(tenant.webhooks)],
            )
        require_known_names(self.prompt_rules, [(tenant.prompt_rules, tenant.exempt_from) for tenant in self.tenants])
        known = {tenant.id for tenant in self.tenants}
        for i, issuer in issuers:
            if issuer.id in known:
                raise MisplacedError(f"the issuer {issuer.id!r} has the name of a tenant", "issuers", i, "id")
            unknown = set() if issuer.tenants == "*" else set(issuer.tenants) - known
            if unknown:
                message = f"names tenants that are not in the file: {', '.join(sorted(unknown))}"
                raise MisplacedError(message, "issuers", i, "tenants")
        return self


def _require_unique(what: str, names: Sequence[tuple[str, Location]]) -> None:
    seen = set[str]()
    for name, location in names:
        if name in seen:
            raise MisplacedError(f"{what} {name!r} stands twice", *location)
        seen.add(name)


class ApiCaller(NamedTuple):
    """Who asks over HTTP."""

    tenant: str
    name: str
    """The id of the API key (never the key), or ``user:`` and the name of a user."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The file as services use it."""

    version: int
    tenants: Mapping[str, Tenant]
    keys: Mapping[str, KeyEntry] = field(repr=False)
    api_keys: Mapping[str, ApiCaller] = field(repr=False)
    """SHA-256 of an API key → whose it is."""
    prompt_rules: tuple[PromptRule, ...] = ()
    """Those for all tenants."""

    def own_topics(self) -> list[str]:
        return sorted(tenant.id for tenant in self.tenants.values() if tenant.own_topic)

    def require_successor(self, new: Directory) -> None:
        """Raise ``ConfigError`` unless ``new`` may take the place of this one: the same, or a higher version.

        A change that keeps its version could be taken over by one instance and not by another.
        """
        if new != self and new.version <= self.version:
            raise ConfigError(
                f"its content has changed, but its version {new.version} is not above {self.version}: raise it"
            )


def load_tenants(path: Path, *, only_issuer: str | None = None) -> Directory:
    """Read the file and every key that it names. Raises ``ConfigError``.

    ``only_issuer``: read the keys of this issuer alone. Who only signs has no business with the secrets of tenants.
    """
    file = read_yaml(path, TenantsFile)
    keys: dict[str, KeyEntry] = {}
    for i, tenant in enumerate(file.tenants):
        if only_issuer is not None:
            break
        for k, key in enumerate(tenant.keys):
            material = material_of(key, path, ("tenants", i, "keys", k))
            keys[key.kid] = KeyEntry(key.kid, key.alg, tenant.id, frozenset({tenant.id}), material)
    for i, issuer in enumerate(file.issuers):
        if only_issuer not in (None, issuer.id):
            continue
        may_speak_for = None if issuer.tenants == "*" else frozenset(issuer.tenants)
        for k, key in enumerate(issuer.keys):
            material = material_of(key, path, ("issuers", i, "keys", k))
            keys[key.kid] = KeyEntry(key.kid, key.alg, issuer.id, may_speak_for, material)
    tenants = file.tenants
    prompt_rules = file.prompt_rules
    if only_issuer is None:
        prompt_rules = with_words(prompt_rules, path, ())
        tenants = [
            tenant.model_copy(update={"prompt_rules": with_words(tenant.prompt_rules, path, ("tenants", i))})
            for i, tenant in enumerate(tenants)
        ]
    return Directory(
        version=file.version,
        tenants={tenant.id: tenant for tenant in tenants},
        keys=keys,
        api_keys={key.sha256: ApiCaller(tenant.id, key.id) for tenant in file.tenants for key in tenant.api_keys},
        prompt_rules=prompt_rules,
    )

"""The webhooks in ``tenants.yaml`` with their secrets, as the stage that delivers them uses them.

It reads no other key of the file: who delivers needs none that verifies or signs requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.tenants import Tenant, TenantsFile
from schemas.webhook_entries import RequestWebhooks, secrets_of
from schemas.yaml_file import ConfigError, read_yaml

__all__ = ["Endpoints", "Target", "load_endpoints"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where something is posted, which events, and with which secrets it is signed: each of them signs."""

    url: str
    events: frozenset[str]
    secrets: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The file as it is in force."""

    version: int
    named: Mapping[str, Mapping[str, Target]]
    """Tenant → name → endpoint."""
    own: Mapping[str, tuple[RequestWebhooks, tuple[bytes, ...]]] = field(repr=False)
    """Tenant → which URLs its requests may name, and the secrets for those."""

    def require_successor(self, new: Endpoints) -> None:
        """Raise ``ConfigError`` unless ``new`` may take the place of this one: the same version, or a higher one.

        The same one is a change that is none of this stage's business, or a secret file with another content.
        """
        if new.version < self.version:
            raise ConfigError(f"its version {new.version} is below {self.version}, which is in force")


def load_endpoints(path: Path) -> Endpoints:
    """Read the file and every secret of a webhook that it names. Raises ``ConfigError``."""
    file = read_yaml(path, TenantsFile)
    named: dict[str, dict[str, Target]] = {}
    own: dict[str, tuple[RequestWebhooks, tuple[bytes, ...]]] = {}
    for i, tenant in enumerate(file.tenants):
        if tenant.webhooks:
            named[tenant.id] = _endpoints(tenant, path, i)
        if tenant.request_webhooks is not None:
            secrets = secrets_of(tenant.request_webhooks.secrets, path, ("tenants", i, "request_webhooks"))
            own[tenant.id] = (tenant.request_webhooks, secrets)
    return Endpoints(file.version, named, own)


def _endpoints(tenant: Tenant, path: Path, index: int) -> dict[str, Target]:
    return {
        endpoint.name: Target(
            endpoint.url,
            frozenset(endpoint.events),
            secrets_of(endpoint.secrets, path, ("tenants", index, "webhooks", k)),
        )
        for k, endpoint in enumerate(tenant.webhooks)
    }

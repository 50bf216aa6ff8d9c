"""The files of an installation on one's own machine: tenants, keys made for them here, and the settings of it all."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ops.cli.material import make_api_key, make_key, write_private
from ops.local.ports import free_port
from ops.local.stack import Endpoints
from schemas.signing import Algorithm
from schemas.tenants import load_tenants

__all__ = ["DEV_TENANTS", "DevTenant", "environment", "make_tenants", "sdk_environment"]

_ISSUER = "easel-api"
_PORTS = {
    "EASEL_API_PORT": 8080,
    "EASEL_ADMISSION_HEALTH_PORT": 9101,
    "EASEL_GENERATION_HEALTH_PORT": 9102,
    "EASEL_WEBHOOKS_HEALTH_PORT": 9103,
}
_HEADER = """\
# Tenants of the stack on this machine, with keys of its own. Raise the version at each change: services notice.
# yaml-language-server: $schema={schema}
"""


@dataclass(frozen=True, slots=True)
class DevTenant:
    """A tenant to be made: with a key pair, if it has an ``algorithm``, and always with a key for the HTTP API."""

    id: str
    name: str
    algorithm: Algorithm | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


DEV_TENANTS = (
    DevTenant("atelier", "Signs with EdDSA", "EdDSA", {"units_per_day": 1_000}),
    DevTenant("bureau", "Signs with ES256", "ES256", {"units_per_day": 1_000}),
    DevTenant("canvas", "Comes over HTTP", None, {"requests_per_minute": 60, "units_per_day": 200}),
)
"""The tenants of ``easel up``."""


def make_tenants(directory: Path, tenants: Sequence[DevTenant], *, own_topics: bool = False) -> Path:
    """Write ``tenants.yaml`` and the keys that it names, unless it is there already. Returns its path.

    ``own_topics``: results go to a topic for each tenant too, the only ones that a tenant's user may read.

    A private key is ``keys/<kid>.key``, an API key ``keys/<tenant>.api-key``: mode 0600.
    """
    path = directory / "tenants.yaml"
    if path.exists():
        return path
    keys = directory / "keys"
    shim = f"{_ISSUER}-1"
    write_private(keys / f"{shim}.key", make_key("HS256").private)
    content = {
        "version": 1,
        "tenants": [_tenant(keys, tenant, own_topic=own_topics) for tenant in tenants],
        "issuers": [
            {
                "id": _ISSUER,
                "tenants": "*",
                "keys": [{"kid": shim, "alg": "HS256", "secret_file": f"keys/{shim}.key"}],
            }
        ],
    }
    schema = Path("docs/schema/tenants.schema.json").resolve()
    header = _HEADER.format(schema=schema) if schema.exists() else _HEADER.partition("\n")[0] + "\n"
    part = path.with_suffix(".part")
    part.write_text(header + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    load_tenants(part)
    part.replace(path)
    return path


def _tenant(keys: Path, tenant: DevTenant, *, own_topic: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": tenant.id, "name": tenant.name, "limits": dict(tenant.limits)}
    if own_topic:
        entry["own_topic"] = True
    if tenant.algorithm:
        kid = f"{tenant.id}-1"
        material = make_key(tenant.algorithm)
        write_private(keys / f"{kid}.key", material.private)
        (keys / f"{kid}.pub").write_text(material.public or "", encoding="utf-8")
        entry["keys"] = [{"kid": kid, "alg": tenant.algorithm, "public_key_file": f"keys/{kid}.pub"}]
    api_key = make_api_key()
    write_private(keys / f"{tenant.id}.api-key", api_key.key + "\n")
    entry["api_keys"] = [{"id": f"{tenant.id}-api-1", "sha256": api_key.sha256}]
    return entry


def environment(
    directory: Path,
    endpoints: Endpoints,
    *,
    models: Path,
    partitions: int,
    kept: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The settings of an installation whose files lie in ``directory``. Secrets are named by the file that holds them.

    ``kept``: the settings of an earlier time, whose ports are used again; new ones are the usual ports, if they are
    free. Without it, any free ports.
    """
    directory = directory.resolve()
    for name, secret in (("access", endpoints.store_access_key), ("secret", endpoints.store_secret_key)):
        path = directory / "keys" / f"store.{name}"
        path.unlink(missing_ok=True)
        write_private(path, secret + "\n")
    ports = {
        name: str(free_port()) if kept is None else kept.get(name) or str(_port(usual))
        for name, usual in _PORTS.items()
    }
    return {
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": endpoints.kafka,
        "EASEL_KAFKA_PARTITIONS": str(partitions),
        "EASEL_KAFKA_JOBS_PARTITIONS": str(partitions),
        "EASEL_STORE_ENDPOINT": endpoints.store,
        "EASEL_STORE_ACCESS_KEY_FILE": str(directory / "keys" / "store.access"),
        "EASEL_STORE_SECRET_KEY_FILE": str(directory / "keys" / "store.secret"),
        "EASEL_TENANTS": str(directory / "tenants.yaml"),
        "EASEL_MODELS": str(models.resolve()),
        "EASEL_API_SIGNING_KEY_FILE": str(directory / "keys" / f"{_ISSUER}-1.key"),
        "EASEL_API_STATE_FILE": str(directory / "api.sqlite"),
        **ports,
    }


def sdk_environment(directory: Path, tenant: DevTenant) -> dict[str, str]:
    """The tenant for whom a client speaks that is not told otherwise, and its key."""
    kid = f"{tenant.id}-1"
    return {
        "EASEL_TENANT": tenant.id,
        "EASEL_KID": kid,
        "EASEL_KEY_FILE": str(directory.resolve() / "keys" / f"{kid}.key"),
    }


def _port(usual: int) -> int:
    """The usual port, or another one where that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", usual))
        except OSError:
            return free_port()
    return usual

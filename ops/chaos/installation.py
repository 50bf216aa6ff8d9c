"""The installation that chaos may harm: its tenants, its model, its topics, and the settings of its processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from consumer.admission.init import initialise
from ops.cli.material import KeyMaterial, make_key, write_private
from ops.local.stack import Endpoints
from schemas.catalog import load_catalog
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from schemas.signing import Algorithm, Signer, read_signing_key
from schemas.tenants import load_tenants
from transport.objects import ObjectStore

__all__ = ["MODEL", "SCANT", "TENANTS", "Installation"]

MODEL = "mosaic"
PARTITIONS = 6
JOBS_PARTITIONS = 8
SESSION_S = 3.0
LEASE_S = 12.0
_DRAIN_S = 5.0
# Slow enough that faults find work under way, quick enough that the fleet keeps up with the driver.
_STEP_S = "0.01"

_MODELS = f"""\
models:
  {MODEL}:
    pipeline: .
    engine: "null"
    attempts: 3
    max_batch_images: 8
    defaults: {{width: 64, height: 64, steps: 4}}
"""


@dataclass(frozen=True, slots=True)
class ChaosTenant:
    """A tenant, what it may use, and its part of what is sent."""

    id: str
    algorithm: Algorithm
    share: int
    entry: dict[str, Any]


SCANT = "ebb"
"""The tenant that asks for more than its rate, its queue and its budget allow."""

TENANTS = (
    ChaosTenant("acme", "EdDSA", 5, {"weight": 2}),
    ChaosTenant("bolt", "ES256", 3, {"price_factor": "1.25", "limits": {"units_per_month": 1_000_000}}),
    ChaosTenant("cord", "HS256", 3, {"own_topic": True, "time_zone": "Asia/Shanghai"}),
    ChaosTenant("dune", "EdDSA", 2, {"limits": {"running": 4}}),
    ChaosTenant("flux", "EdDSA", 2, {"limits": {"requests_per_minute": 6_000, "burst": 100}}),
    ChaosTenant(SCANT, "EdDSA", 2, {"limits": {"requests_per_minute": 120, "burst": 20, "queued": 10}}),
)
# Its day is spent when most of the run is over, however long that takes: 1.6 pictures of 64 x 64 in 4 steps, a second.
_SCANT_UNITS_A_SECOND = 0.03


class Installation:
    """Files and settings under ``folder``. ``store``: where its processes find the store of ``endpoints``."""

    def __init__(self, folder: Path, endpoints: Endpoints, *, store: str, seconds: float) -> None:
        self._folder = folder
        self._keys = {tenant.id: make_key(tenant.algorithm) for tenant in TENANTS}
        (folder / "models.yaml").write_text(_MODELS, encoding="utf-8")
        self._entries = {tenant.id: self._key(tenant.id) for tenant in TENANTS}
        self._scant_units = max(1.0, _SCANT_UNITS_A_SECOND * seconds)
        self.write_tenants(1, {})
        self._endpoints = endpoints
        self._store = store
        self.settings = Settings(
            installation="chaos",
            tenants=folder / "tenants.yaml",
            models=folder / "models.yaml",
            kafka=KafkaSettings(
                bootstrap_servers=endpoints.kafka, partitions=PARTITIONS, jobs_partitions=JOBS_PARTITIONS
            ),
            store=StoreSettings(
                endpoint=endpoints.store,
                access_key=SecretStr(endpoints.store_access_key),
                secret_key=SecretStr(endpoints.store_secret_key),
            ),
        )
        """Reaches the store without the proxy: what is checked at the end is what it holds."""

    async def make(self) -> None:
        """Topics and bucket. Raises ``TransportError``."""
        settings = self.settings
        await initialise(settings, load_catalog(settings.models), load_tenants(settings.tenants))
        async with ObjectStore(settings.store) as store:
            await store.ensure_bucket()

    def signers(self) -> dict[str, Signer]:
        """Of each tenant."""
        return {name: _signer(name, material, self.settings.installation) for name, material in self._keys.items()}

    def environment(self) -> dict[str, str]:
        """What every process of it needs to know."""
        files = {"EASEL_TENANTS": self.settings.tenants, "EASEL_MODELS": self.settings.models}
        return {
            **self._endpoints.environment(),
            "EASEL_STORE_ENDPOINT": self._store,
            "EASEL_INSTALLATION": self.settings.installation,
            "EASEL_KAFKA_PARTITIONS": str(PARTITIONS),
            "EASEL_KAFKA_JOBS_PARTITIONS": str(JOBS_PARTITIONS),
            "EASEL_ADMISSION_SESSION_TIMEOUT_S": str(SESSION_S),
            "EASEL_ADMISSION_LEASE_S": str(LEASE_S),
            "EASEL_ADMISSION_HEALTH_PORT": "0",
            "EASEL_GENERATION_SESSION_TIMEOUT_S": str(SESSION_S),
            "EASEL_GENERATION_DRAIN_S": str(_DRAIN_S),
            "EASEL_GENERATION_HEALTH_PORT": "0",
            "EASEL_NULL_STEP_S": _STEP_S,
            **{name: str(path) for name, path in files.items()},
        }

    def entry_of(self, tenant: ChaosTenant) -> dict[str, Any]:
        """What ``tenants.yaml`` says of it when nobody has changed it, without its keys."""
        limits = dict(tenant.entry.get("limits", {}))
        if tenant.id == SCANT:
            limits["units_per_day"] = f"{self._scant_units:.3f}"
        return {"id": tenant.id, **tenant.entry, "limits": limits}

    def write_tenants(self, version: int, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """The file at a version, whole at once; ``changes``: what it says otherwise of some tenants."""
        entries = [
            {**self.entry_of(tenant), **changes.get(tenant.id, {}), "keys": [self._entries[tenant.id]]}
            for tenant in TENANTS
        ]
        part = self._folder / "tenants.part"
        # JSON is YAML too.
        part.write_text(json.dumps({"version": version, "tenants": entries}, indent=1), encoding="utf-8")
        part.replace(self._folder / "tenants.yaml")

    def _key(self, tenant: str) -> dict[str, str]:
        material = self._keys[tenant]
        entry: dict[str, str] = {"kid": f"{tenant}-1", "alg": material.algorithm}
        if material.public is not None:
            return {**entry, "public_key": material.public}
        write_private(self._folder / f"{tenant}.key", material.private)
        return {**entry, "secret_file": f"{tenant}.key"}


def _signer(tenant: str, material: KeyMaterial, audience: str) -> Signer:
    algorithm, key = read_signing_key(material.private)
    return Signer(f"{tenant}-1", algorithm, key, tenant, audience)

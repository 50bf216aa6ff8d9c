"""The installation that hostile events are sent to: two good tenants, one bad one, a model without weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from consumer.admission.init import initialise
from ops.cli.material import make_key, write_private
from ops.hostile.signed import Forger
from ops.local.stack import Endpoints
from schemas.catalog import load_catalog
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from schemas.signing import Signer, read_signing_key
from schemas.tenants import load_tenants
from transport.objects import ObjectStore

__all__ = ["MODEL", "Installation"]

MODEL = "nothing"

_PARTITIONS = 4
_GOOD = ("acme", "bolt")
_BAD = "mallory"
_MODELS = f"""\
models:
  {MODEL}:
    pipeline: .
    engine: "null"
    defaults: {{width: 64, height: 64, steps: 4}}
"""
# Some of what it signs is a request like any other: few enough wait at a time that it stays a nuisance.
_BAD_LIMITS = {"queued": 20, "running": 2, "requests_per_minute": 600, "burst": 50}


class Installation:
    """Files and settings under ``folder``."""

    def __init__(self, folder: Path, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self.settings = Settings(
            tenants=folder / "tenants.yaml",
            models=folder / "models.yaml",
            kafka=KafkaSettings(bootstrap_servers=endpoints.kafka, partitions=_PARTITIONS, jobs_partitions=_PARTITIONS),
            store=StoreSettings(
                endpoint=endpoints.store,
                access_key=SecretStr(endpoints.store_access_key),
                secret_key=SecretStr(endpoints.store_secret_key),
            ),
        )
        self.signers: list[Signer] = []
        """Of the good tenants."""
        tenants: list[dict[str, Any]] = []
        for name in _GOOD:
            material = make_key("EdDSA")
            _, private = read_signing_key(material.private)
            self.signers.append(Signer(f"{name}-1", "EdDSA", private, name, self.settings.installation))
            key = {"kid": f"{name}-1", "alg": "EdDSA", "public_key": material.public}
            tenants.append({"id": name, "keys": [key]})
        secret = make_key("HS256").private
        write_private(folder / "mallory.key", secret)
        key = {"kid": "mallory-1", "alg": "HS256", "secret_file": "mallory.key"}
        tenants.append({"id": _BAD, "limits": _BAD_LIMITS, "keys": [key]})
        self.forger = Forger(_BAD, "mallory-1", secret.strip().encode(), self.settings.installation)
        # JSON is YAML too.
        self.settings.tenants.write_text(json.dumps({"version": 1, "tenants": tenants}), encoding="utf-8")
        self.settings.models.write_text(_MODELS, encoding="utf-8")

    async def make(self) -> None:
        """Topics and bucket. Raises ``TransportError``."""
        settings = self.settings
        await initialise(settings, load_catalog(settings.models), load_tenants(settings.tenants))
        async with ObjectStore(settings.store) as store:
            await store.ensure_bucket()

    def environment(self) -> dict[str, str]:
        """What every process of it needs to know."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
        return {
            **inherited,
            **self._endpoints.environment(),
            "EASEL_KAFKA_PARTITIONS": str(_PARTITIONS),
            "EASEL_KAFKA_JOBS_PARTITIONS": str(_PARTITIONS),
            "EASEL_TENANTS": str(self.settings.tenants),
            "EASEL_MODELS": str(self.settings.models),
        }

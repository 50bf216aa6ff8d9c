"""An installation of easel to be measured: topics, tenants with keys, a model without an engine, and its services."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from consumer.admission.init import initialise
from ops.bench.pipeline.parts import Part
from ops.local.ports import free_port
from ops.local.stack import Endpoints
from schemas.catalog import load_catalog
from schemas.connection import KafkaSettings, StoreSettings
from schemas.envelope import Envelope
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.settings import Settings
from schemas.signing import Signer
from schemas.tenants import load_tenants
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.topics import ensure_topics

__all__ = ["JOBS_PARTITIONS", "PARTITIONS", "Installation", "make_bare_topics"]

PARTITIONS = JOBS_PARTITIONS = 4
_TENANTS_EACH = 2
_MODEL = "nothing"
_BATCH_IMAGES = 256
_MODELS = {
    _MODEL: {
        "pipeline": ".",
        "engine": "null",
        "max_batch_images": _BATCH_IMAGES,
        "defaults": {"width": 64, "height": 64, "steps": 1},
    }
}
_PLENTY = 10**6
_UNLIMITED = {
    "requests_per_minute": _PLENTY,
    "units_per_day": 10**9,
    "units_per_month": 10**9,
    "queued": _PLENTY,
    "images": 10,
    "pixels": 2**22,
    "steps": 50,
}
"""Every limit is set, so that each is looked at, and none is reached."""


class Installation:
    """One prefix on a broker. ``stored``: whether pictures go to the store, or nowhere.

    ``modules``: what runs as a service, where it is not what easel runs. ``models``: the catalogue's entries, where
    they are not one without an engine; the window is then easel's own. ``http``: the HTTP API in the worker's place,
    and a key for it for each tenant.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        prefix: str,
        folder: Path,
        *,
        stored: bool,
        modules: Mapping[str, str] | None = None,
        models: Mapping[str, Any] | None = None,
        http: bool = False,
    ) -> None:
        folder.mkdir(parents=True)
        self.prefix = prefix
        self._folder = folder
        self._api_secret = folder / "api.secret"
        worker = "consumer.generation" if stored else "ops.bench.pipeline.unstored"
        beside = {"api": "producer_api"} if http else {"worker": worker}
        self._modules = {"admission": "consumer.admission", **beside, **(modules or {})}
        self._endpoints = endpoints
        self._models = models or _MODELS
        # A partition may always have a batch with the fleet.
        self._window = {} if models else {"EASEL_ADMISSION_WINDOW_JOBS": str(_BATCH_IMAGES)}
        self._secrets = {name: secrets.token_urlsafe(32) for name in _tenants()}
        self.api_keys = {name: f"easel_{secrets.token_urlsafe(32)}" for name in self._secrets}
        self.settings = Settings(
            kafka=KafkaSettings(
                bootstrap_servers=endpoints.kafka,
                prefix=prefix,
                partitions=PARTITIONS,
                jobs_partitions=JOBS_PARTITIONS,
            ),
            store=StoreSettings(
                endpoint=endpoints.store,
                bucket="easel",
                access_key=SecretStr(endpoints.store_access_key),
                secret_key=SecretStr(endpoints.store_secret_key),
            ),
            models=folder / "models.yaml",
            tenants=folder / "tenants.yaml",
        )
        self._write_files()
        self.services: dict[str, Part] = {}
        asyncio.run(initialise(self.settings, load_catalog(self.settings.models), load_tenants(self.settings.tenants)))

    def start(self) -> None:
        """Start one process of each stage, and wait until they are ready."""
        for name, module in self._modules.items():
            port = free_port()
            variables = {**self._variables(), _PORTS[name]: str(port)}
            self.services[name] = Part(
                [sys.executable, "-m", module], self._folder / f"{name}.log", environment=variables, health=port
            )
        for part in self.services.values():
            part.wait_ready()

    def stop(self) -> None:
        """End its services."""
        for part in self.services.values():
            part.stop()
        self.services.clear()

    def tenants_of(self, partition: int) -> list[str]:
        """The tenants at home there."""
        return [name for name in self._secrets if partition_of(name.encode(), PARTITIONS) == partition]

    def signer(self, tenant: str) -> Signer:
        """Signs as this tenant."""
        return Signer(f"{tenant}-1", "HS256", self._secrets[tenant].encode(), tenant, self.settings.installation)

    def log(self, service: str) -> str:
        """All that a service has logged."""
        return (self._folder / f"{service}.log").read_text(encoding="utf-8", errors="replace")

    def write_requests(self, number: int, file: Path, *, tenants: Sequence[str] = ()) -> None:
        """``number`` new signed requests of these tenants (all, where none is named) in turn, a line of JSON each."""
        names = tenants or list(self._secrets)
        signers = {name: self.signer(name) for name in names}
        with file.open("w", encoding="utf-8") as lines:
            for index in range(number):
                name, event_id = names[index % len(names)], new_id()
                body = json.dumps(_body(index)).encode()
                token = signers[name].sign(
                    tenant=name,
                    event_type=GenerationRequest.TYPE,
                    event_id=event_id,
                    body=body,
                    now_s=time.time(),
                )
                envelope = Envelope(event_id, GenerationRequest.TYPE, "bench", body, signature=token)
                line = {
                    "id": event_id,
                    "key": name,
                    "partition": partition_of(name.encode(), PARTITIONS),
                    "value": body.decode(),
                    "headers": [(header, value.decode()) for header, value in envelope.headers()],
                }
                lines.write(json.dumps(line) + "\n")

    def _write_files(self) -> None:
        tenants = []
        for name, secret in self._secrets.items():
            file = self._folder / f"{name}.secret"
            file.write_text(secret)
            tenants.append(
                {
                    "id": name,
                    "limits": _UNLIMITED,
                    "keys": [{"kid": f"{name}-1", "alg": "HS256", "secret_file": str(file)}],
                    "api_keys": [{"id": "bench", "sha256": hashlib.sha256(self.api_keys[name].encode()).hexdigest()}],
                }
            )
        self._api_secret.write_text(secrets.token_urlsafe(32))
        key = {"kid": "easel-api-1", "alg": "HS256", "secret_file": str(self._api_secret)}
        issuers = [{"id": "easel-api", "tenants": "*", "keys": [key]}]
        # JSON is YAML too.
        self.settings.tenants.write_text(json.dumps({"version": 1, "tenants": tenants, "issuers": issuers}))
        self.settings.models.write_text(json.dumps({"models": self._models}))

    def _variables(self) -> dict[str, str]:
        return {
            **self._endpoints.environment(),
            "EASEL_STORE_BUCKET": self.settings.store.bucket,
            "EASEL_KAFKA_PREFIX": self.prefix,
            "EASEL_KAFKA_PARTITIONS": str(PARTITIONS),
            "EASEL_KAFKA_JOBS_PARTITIONS": str(JOBS_PARTITIONS),
            "EASEL_MODELS": str(self.settings.models),
            "EASEL_TENANTS": str(self.settings.tenants),
            "EASEL_API_SIGNING_KEY_FILE": str(self._api_secret),
            "EASEL_API_STATE_FILE": str(self._folder / "api.sqlite"),
            **self._window,
        }


_PORTS = {
    "admission": "EASEL_ADMISSION_HEALTH_PORT",
    "worker": "EASEL_GENERATION_HEALTH_PORT",
    "api": "EASEL_API_PORT",
}


def make_bare_topics(endpoints: Endpoints, prefix: str) -> None:
    """The topics of an installation, for the bare loop."""
    kafka = KafkaSettings(bootstrap_servers=endpoints.kafka, prefix=prefix)
    specs = Topics(prefix).specs(
        partitions=PARTITIONS, jobs_partitions=JOBS_PARTITIONS, replication=1, pools=["default"]
    )
    asyncio.run(ensure_topics(kafka, specs))


def _tenants() -> Sequence[str]:
    """As many on each partition."""
    found: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for index in count():
        name = f"tenant-{index}"
        home = found[partition_of(name.encode(), PARTITIONS)]
        if len(home) < _TENANTS_EACH:
            home.append(name)
        if all(len(names) == _TENANTS_EACH for names in found.values()):
            break
    return [names[turn] for turn in range(_TENANTS_EACH) for names in found.values()]


def _body(number: int) -> dict[str, object]:
    return {
        "model": _MODEL,
        "prompt": f"an old lighthouse on a cliff above a calm sea at dawn, oil on canvas, number {number}",
        "negative_prompt": "people, text, watermark",
        "metadata": {"post": str(number), "section": "travel"},
    }

"""The tenants file as the API has it, followed while it runs: whose key is whose, and whether its own is believed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from pathlib import Path

from producer_api.background import end
from producer_api.metrics import Metrics
from schemas.errors import EaselError
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.signing import Signer, verify
from schemas.tenants import ApiCaller, Directory, Tenant, load_tenants
from schemas.yaml_file import ConfigError, LiveFile

__all__ = ["Keyring"]

log = logging.getLogger(__name__)

_LOOK_S = 1.0


class Keyring:
    """The tenants file in force, and whether what the API signs would be believed.

    A key that is withdrawn from the file stops working within a second; a file that can't be used is reported, and the
    one before it goes on. Raises ``ConfigError`` when there is none to begin with.
    """

    def __init__(self, path: Path, signer: Signer, metrics: Metrics) -> None:
        self._path = path
        self._signer = signer
        self._metrics = metrics
        self._live = LiveFile(path)
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None
        """Why nothing can be signed just now."""
        self._directory = self._load()
        self._adopt(self._directory)

    def start(self) -> None:
        """Follow the file."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Follow it no longer."""
        await end(self._task)

    def caller_of(self, key: str) -> ApiCaller | None:
        """Whose API key this is; None for one that is unknown or withdrawn."""
        # Looked up by its hash: how long that takes tells nothing about the keys that there are.
        return self._directory.api_keys.get(hashlib.sha256(key.encode()).hexdigest())

    def tenant(self, name: str) -> Tenant | None:
        """A tenant as the file has it."""
        return self._directory.tenants.get(name)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                if await asyncio.to_thread(self._live.changed):
                    self._reload(await asyncio.to_thread(self._load))
            except ConfigError as error:
                self._keep_old(str(error))
            except Exception:
                log.exception("following %s failed; trying again", self._path)

    def _load(self) -> Directory:
        # Its own key, to try it; the tenants' are admission's business.
        return load_tenants(self._path, only_issuer=self._signer.issuer)

    def _reload(self, directory: Directory) -> None:
        self._directory.require_successor(directory)
        self._adopt(directory)
        log.info("%s: version %d is in force", self._path, directory.version)

    def _adopt(self, directory: Directory) -> None:
        self._directory = directory
        self._metrics.tenants_version.set(directory.version)
        self._metrics.tenants_valid.set(1)
        self.problem = _signing_problem(self._signer, directory)
        if self.problem:
            log.error("requests can't be signed: %s", self.problem)

    def _keep_old(self, why: str) -> None:
        self._metrics.tenants_valid.set(0)
        log.error("the tenants file is not taken over, version %d goes on: %s", self._directory.version, why)


def _signing_problem(signer: Signer, directory: Directory) -> str | None:
    """Sign and verify once: what admission can't verify gets no answer, so it must not be published."""
    tenant = next(iter(directory.tenants))
    entry = directory.keys.get(signer.kid)
    if entry is not None and entry.tenants:
        tenant = min(entry.tenants)
    id_, now_s = new_id(), time.time()
    token = signer.sign(tenant=tenant, event_type=GenerationRequest.TYPE, event_id=id_, body=b"{}", now_s=now_s)
    try:
        verify(
            token,
            keys=directory.keys,
            audience=signer.audience,
            event_type=GenerationRequest.TYPE,
            event_id=id_,
            body=b"{}",
            appended_ms=int(now_s * 1000),
        )
    except EaselError as error:
        return f"the API's key {signer.kid!r} (issuer {signer.issuer!r}) does not fit the tenants file: {error.message}"
    return None

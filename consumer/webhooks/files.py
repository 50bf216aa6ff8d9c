"""The webhooks of ``tenants.yaml`` in force: read again when the file changes, kept as they were when it is wrong."""

from __future__ import annotations

import asyncio

from schemas.endpoints import Endpoints, load_endpoints
from schemas.settings import Settings
from schemas.yaml_file import ConfigError, LiveFile
from transport.logs import logger

__all__ = ["EndpointFiles"]

_LOOK_S = 1.0

_log = logger("webhooks")


class EndpointFiles:
    """The file in force. Raises ``ConfigError`` when it is wrong from the start."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.tenants
        self._file = LiveFile(settings.tenants)
        self.endpoints: Endpoints = load_endpoints(settings.tenants)
        self.problem: str | None = None
        """Why a newer file was refused."""

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._file.changed():
                self._reload()

    def _reload(self) -> None:
        try:
            new = load_endpoints(self._path)
            self.endpoints.require_successor(new)
        except ConfigError as error:
            self.problem = f"tenants.yaml was refused, the one before is in force: {error}"
            _log.error("refused", file="tenants.yaml", reason=str(error))
        else:
            self.endpoints, self.problem = new, None
            _log.info("applied", file="tenants.yaml", tenants_version=new.version)

"""What an API process is made of, put together once and shared by the routes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from producer_api.fleet import Fleet
from producer_api.followed import FollowedFile
from producer_api.keyring import Keyring
from producer_api.login.logins import Logins
from producer_api.metrics import Metrics
from producer_api.outlet import Outlet
from producer_api.pulse import Pulse
from producer_api.sources.keeping import Keeper
from producer_api.tracker import Tracker
from schemas.catalog import Catalog, load_catalog
from schemas.settings import Settings
from schemas.signing import Signer, read_signing_key
from schemas.topics import Topics
from schemas.yaml_file import ConfigError
from transport.objects import ObjectStore

__all__ = ["Services", "ServicesDep", "StartupError", "services_of"]


log = logging.getLogger(__name__)


class StartupError(Exception):
    """The API can't be started with these settings; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts. Building them touches no network."""

    settings: Settings
    topics: Topics
    metrics: Metrics
    signer: Signer
    keyring: Keyring
    tracker: Tracker
    outlet: Outlet
    objects: ObjectStore
    logins: Logins | None
    """Users who sign in; None where nobody is to."""
    fleet: Fleet
    pulse: Pulse
    closing: asyncio.Event
    """Set when the process is to end: it is not ready any more, and streams tell their readers to come again."""
    sources: Keeper
    catalog: FollowedFile[Catalog] | None
    """The models that can be asked for; None where the API has no such file: admission knows them."""

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Raises ``StartupError`` and ``ConfigError``."""
        metrics = Metrics()
        pulse = Pulse()
        signer = _signer(settings)
        objects = ObjectStore(settings.store)
        return cls(
            settings=settings,
            topics=Topics(settings.kafka.prefix),
            metrics=metrics,
            signer=signer,
            keyring=Keyring(settings.tenants, signer, metrics),
            tracker=Tracker(settings.kafka, settings.api.state_file, metrics, pulse),
            outlet=Outlet(settings.kafka, metrics),
            objects=objects,
            logins=Logins.build(settings, objects),
            closing=asyncio.Event(),
            fleet=Fleet(settings.kafka),
            pulse=pulse,
            sources=Keeper(objects),
            catalog=_catalog(settings),
        )

    async def start(self) -> None:
        """Begin to follow the tenants file and the topics. Doesn't wait for Kafka: readiness says when it is there."""
        self.keyring.start()
        self.tracker.start()
        self.outlet.start()
        self.fleet.start()
        for part in (self.logins, self.catalog):
            if part is not None:
                part.start()

    async def stop(self) -> None:
        """Close everything."""
        await self.keyring.stop()
        await self.tracker.stop()
        await self.outlet.stop()
        await self.fleet.stop()
        for part in (self.logins, self.catalog):
            if part is not None:
                await part.stop()
        await self.objects.close()

    def reasons(self) -> list[str]:
        """Why the API is not ready; empty when it is."""
        closing = "it is ending" if self.closing.is_set() else None
        return [
            problem
            for problem in (
                closing,
                self.outlet.problem,
                self.tracker.problem,
                self.keyring.problem,
                self.pulse.problem,
            )
            if problem is not None
        ]


def _signer(settings: Settings) -> Signer:
    api = settings.api
    if api.signing_key is None:
        raise StartupError("the HTTP API needs a key to sign with: set EASEL_API_SIGNING_KEY_FILE to its path")
    try:
        algorithm, key = read_signing_key(api.signing_key.get_secret_value())
    except ValueError as error:
        raise StartupError(f"EASEL_API_SIGNING_KEY can't be used: {error}") from None
    return Signer(kid=api.signing_kid, algorithm=algorithm, key=key, issuer=api.issuer, audience=settings.installation)


def _catalog(settings: Settings) -> FollowedFile[Catalog] | None:
    try:
        return FollowedFile(settings.models, load_catalog)
    except ConfigError as error:
        log.warning("the routes that need the catalogue of models answer 503: %s", error)
        return None


async def services_of(request: Request) -> Services:
    """The services of the app that serves ``request``."""
    # Not a plain function: the framework would call that in a thread, which takes longer than the rest of a request.
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]

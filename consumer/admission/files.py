"""``tenants.yaml`` and ``models.yaml`` in force: read again when they change, kept as they were when wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache

from consumer.admission.init import specs_of
from consumer.admission.rules import Rules
from consumer.metrics import Metrics
from schemas.catalog import Catalog, load_catalog
from schemas.settings import Settings
from schemas.tenants import Directory, load_tenants
from schemas.topics import Topics
from schemas.yaml_file import ConfigError, LiveFile
from transport.errors import TransportError
from transport.logs import logger
from transport.topics import check_topics

__all__ = ["RuleFiles"]

_LOOK_S = 1.0
_CHECK_EVERY = 15
"""Looks between two checks for topics that tenants wait for."""

_log = logger("admission")


class RuleFiles:
    """The files in force. Raises ``ConfigError`` when they are wrong from the start."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._tenants_file = LiveFile(settings.tenants)
        self._models_file = LiveFile(settings.models)
        self.directory: Directory = load_tenants(settings.tenants)
        self.catalog: Catalog = load_catalog(settings.models)
        self._missing: frozenset[str] = frozenset(self.directory.own_topics())
        self._refused: dict[str, str] = {}
        metrics.set("easel_tenants_version", self.directory.version)
        self._rules = lru_cache(maxsize=None)(self._make_rules)

    def rules(self, partition: int) -> Rules:
        """What a partition's next batch is decided by."""
        return self._rules(partition)

    def problems(self) -> list[str]:
        """What a person should know: files that were refused, topics that are missing."""
        missing = [f"the topic of tenant {tenant!r} is missing: run `easel topics`" for tenant in sorted(self._missing)]
        return [*self._refused.values(), *missing]

    def without_own_topic(self, problems: list[str]) -> list[str]:
        """Those of ``problems`` that are about tenants' own topics, which the shared one stands in for meanwhile."""
        topics = Topics(self._settings.kafka.prefix)
        names = {tenant: topics.results_of(tenant) for tenant in self.directory.own_topics()}
        about = [problem for problem in problems if any(name in problem for name in names.values())]
        missing = frozenset(t for t, name in names.items() if any(name in problem for problem in about))
        if missing != self._missing:
            self._missing = missing
            self._rules.cache_clear()
        return about

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._tenants_file.changed():
                self._reload("tenants.yaml", self._reload_tenants)
            if self._models_file.changed():
                self._reload("models.yaml", self._reload_models)
            looks += 1
            if self._missing and looks % _CHECK_EVERY == 0:
                await self._look_for_topics()

    def _reload(self, name: str, read: Callable[[], None]) -> None:
        try:
            read()
        except ConfigError as error:
            self._refused[name] = f"{name} was refused, the one before is in force: {error}"
            self._metrics.inc("easel_tenants_reload_total", result="refused")
            _log.error("refused", file=name, reason=str(error))
        else:
            self._refused.pop(name, None)
            self._rules.cache_clear()
            self._metrics.inc("easel_tenants_reload_total", result="applied")
            _log.info("applied", file=name, tenants_version=self.directory.version)

    def _reload_tenants(self) -> None:
        new = load_tenants(self._settings.tenants)
        self.directory.require_successor(new)
        self._missing |= frozenset(new.own_topics()) - frozenset(self.directory.own_topics())
        self.directory = new
        self._metrics.set("easel_tenants_version", new.version)

    def _reload_models(self) -> None:
        new = load_catalog(self._settings.models)
        if unknown := sorted(set(new.pools()) - set(self.catalog.pools())):
            raise ConfigError(
                f"{self._settings.models}: the pool {unknown[0]!r} is new: run `easel topics`, then restart admission"
            )
        self.catalog = new

    async def _look_for_topics(self) -> None:
        try:
            problems = await check_topics(self._settings.kafka, specs_of(self._settings, self.catalog, self.directory))
        except TransportError as error:
            _log.warning("topics could not be checked", reason=str(error))
        else:
            self.without_own_topic(problems)

    def _make_rules(self, partition: int) -> Rules:
        settings = self._settings
        return Rules(
            installation=settings.installation,
            topics=Topics(settings.kafka.prefix),
            partition=partition,
            partitions=settings.kafka.partitions,
            jobs_partitions=settings.kafka.jobs_partitions,
            window_jobs=settings.admission.window_jobs,
            lease_ms=round(settings.admission.lease_s * 1000),
            catalog=self.catalog,
            directory=self.directory,
            remembered_ms=int(settings.admission.remembered_h * 3_600_000),
            own_topics=frozenset(self.directory.own_topics()) - self._missing,
        )

"""The demo itself: topics, services, requests, and everything that is read when they have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumer.admission.init import initialise
from ops.cli.accounts import Accounts, read_accounts
from ops.cli.pictures import read_verified
from ops.cli.terminal import CommandError
from ops.demo.observer import Observer, pictures_of
from ops.demo.plan import BY_HTTP, TENANTS, requests_of
from ops.demo.publishers import by_http, by_plain_client, by_sdk
from ops.demo.stack import DemoStack
from ops.demo.verdict import Numbers, count, problems_of_usage, problems_with_outcomes
from schemas.catalog import load_catalog
from schemas.settings import Settings
from schemas.tenants import load_tenants
from transport.objects import ObjectStore

__all__ = ["Demo"]

_SERVICES = ("admission", "worker", "api")
_READY_S = 90.0
_LIMIT_S = 300.0
_POLL_S = 0.1


class Demo:
    """One run on a stack that is up. ``problems`` is empty when everything was as it must be."""

    def __init__(self, settings: Settings, stack: DemoStack, console: Console) -> None:
        self.settings = settings
        self.problems: list[str] = []
        self.pictures: dict[str, bytes] = {}
        """Object key → content, checked against the hash in the event."""
        self.accounts = Accounts()
        self.balanced = False
        self._stack = stack
        self._services = stack.services
        self._console = console
        self.observer = Observer(settings.kafka)

    def numbers(self, seconds: float) -> Numbers:
        """All of it in numbers, after ``run``."""
        return count(self.observer, usage_balanced=self.balanced, seconds=seconds)

    async def run(self, limit_s: float = _LIMIT_S) -> None:
        """Topics, services, requests, and everything that is read at the end.

        Raises ``CommandError`` when a service ends by itself or the requests have not ended within ``limit_s``.
        """
        began = time.monotonic()
        catalog, tenants = load_catalog(self.settings.models), load_tenants(self.settings.tenants)
        await initialise(self.settings, catalog, tenants)
        async with ObjectStore(self.settings.store) as store:
            await store.ensure_bucket()
            for name in _SERVICES:
                self._services.start(name, {})
            async with asyncio.TaskGroup() as group:
                background = [group.create_task(self.observer.follow()), group.create_task(self._watch())]
                await self._until_ready()
                self._console.print(f"admission and API are ready after {time.monotonic() - began:.0f} s", style="dim")
                try:
                    async with asyncio.timeout(limit_s):
                        await self._publish_and_wait()
                except TimeoutError:
                    logs = ", ".join(str(self._services.log(name)) for name in _SERVICES)
                    late = ", ".join(self.observer.pending()) or "a publisher"
                    raise CommandError(f"{late} had not ended after {limit_s:.0f} s", f"see {logs}") from None
                for task in background:
                    task.cancel()
            await self._fetch(store)
        self.accounts = await read_accounts(self.settings.kafka)
        self.problems += problems_with_outcomes(self.observer)
        unbalanced = list(problems_of_usage(self.observer, self.accounts))
        self.balanced = not unbalanced
        self.problems += unbalanced

    async def _until_ready(self) -> None:
        """Wait for those that publishers meet; the worker may load its model while they publish."""
        admission, api = self.settings.admission, self.settings.api
        waiting = {
            "admission": f"http://{admission.health_host}:{admission.health_port}/health/ready",
            "api": f"http://{api.host}:{api.port}/health/ready",
        }
        ends_at = time.monotonic() + _READY_S
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while waiting:
                for name, url in list(waiting.items()):
                    if await _answers(http, url):
                        del waiting[name]
                self._services.require_running()
                if time.monotonic() > ends_at:
                    logs = ", ".join(str(self._services.log(name)) for name in waiting)
                    raise CommandError(f"{', '.join(waiting)} not ready after {_READY_S:.0f} s", f"see {logs}")
                await asyncio.sleep(_POLL_S)

    async def _publish_and_wait(self) -> None:
        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bars:
            tasks = {tenant.id: bars.add_task(tenant.id, total=len(requests_of(tenant.id))) for tenant in TENANTS}

            def draw() -> None:
                for tenant, task in tasks.items():
                    bars.update(task, completed=round(self.observer.done(tenant), 1))

            self.observer.on_change = draw
            found = await asyncio.gather(*self._publishers())
            await self.observer.until_ended()
        self.problems += [problem for some in found for problem in some]

    def _publishers(self) -> tuple[Coroutine[Any, Any, list[str]], ...]:
        sent = self.observer.sent
        return (
            by_sdk(self.settings, sent),
            by_plain_client(self.settings, self._stack.forged_key, sent),
            by_http(self.settings, self._stack.api_key(BY_HTTP), sent),
        )

    async def _watch(self) -> None:
        """Never ends but by an error: a service that ended by itself."""
        while True:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self._services.require_running)

    async def _fetch(self, store: ObjectStore) -> None:
        made = [found for one in self.observer.everything() if (found := pictures_of(one))]
        outputs = [output for one in made for output in one.outputs]
        contents = await asyncio.gather(*(read_verified(store, output) for output in outputs), return_exceptions=True)
        for output, content in zip(outputs, contents, strict=True):
            if isinstance(content, BaseException):
                self.problems.append(str(content))
            else:
                self.pictures[output.key] = content


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False

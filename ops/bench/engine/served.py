"""Those that serve clients: easel whole, with its broker and store, and the usual service. Both on this machine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, Protocol

import httpx

from consumer.engine.cores import available_cores
from consumer.engine.weights import pipeline_folder
from ops.bench import usual_service
from ops.bench.engine.pairs import MODEL, PROMPTS
from ops.bench.pipeline.installation import PARTITIONS, Installation
from ops.bench.pipeline.parts import Part, cpu_seconds
from ops.bench.report import BenchError
from ops.bench.stack import fresh_stack
from ops.local.ports import free_port
from ops.local.stack import PART_NAMES, Stack
from producer_api.sdk.client import Client
from producer_api.sdk.exceptions import ClientError
from schemas.catalog import ModelCard

__all__ = ["Easel", "Served", "UsualService", "run_easel", "run_usual_service"]

EMPTY = "nothing"
"""The model without an engine: what a request to it takes is the path's own time."""

_REQUEST_S = 300.0
_SEEDS = count()


class Served(Protocol):
    """Makes a picture for a client."""

    async def ask(self, client: int) -> None:
        """One picture, no other's seed. Raises ``BenchError``."""


class Easel:
    """One process of admission and one worker. Its clients are the SDK's, one a partition."""

    def __init__(self, stack: Stack, installation: Installation, clients: Sequence[Client]) -> None:
        self._stack = stack
        self._clients = clients
        self._admission = installation.services["admission"]
        self.worker = installation.services["worker"]

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time so far, by part; the clients' is that of this process."""
        whole, worker = (cpu_seconds(self.worker.process.pid, children=each) for each in (True, False))
        found = {"engine": whole - worker, "worker": worker, "admission": cpu_seconds(self._admission.process.pid)}
        for name in PART_NAMES:
            pid = self._stack.pid(name)
            found[name] = cpu_seconds(pid) if pid is not None else 0.0
        return {**found, "clients": time.process_time()}

    async def ask(self, client: int) -> None:
        """See ``Served``: from the signed request to the terminal event, the picture being in the store."""
        await self._ask(client, MODEL)

    async def ask_for_nothing(self, client: int) -> None:
        """The same without an engine."""
        await self._ask(client, EMPTY)

    async def _ask(self, client: int, model: str) -> None:
        seed = next(_SEEDS)
        try:
            handle = await self._clients[client % len(self._clients)].submit(
                PROMPTS[seed % len(PROMPTS)], model=model, seed=seed
            )
            await handle.result(timeout_s=_REQUEST_S)
        except ClientError as error:
            raise BenchError(f"a request to easel failed: {error}") from error


class UsualService:
    """``ops/bench/usual_service.py`` behind HTTP."""

    def __init__(self, http: httpx.AsyncClient, card: ModelCard) -> None:
        self._http = http
        self._given = card.defaults.model_dump()

    async def ask(self, client: int) -> None:  # noqa: ARG002 - its clients are alike
        """See ``Served``: from the request to the picture's bytes."""
        seed = next(_SEEDS)
        asked = {"prompt": PROMPTS[seed % len(PROMPTS)], "seed": seed, **self._given}
        try:
            answer = await self._http.post("/generate", json=asked)
        except httpx.TransportError as error:
            raise BenchError(f"the usual service did not answer: {error!r}") from error
        if answer.status_code != httpx.codes.OK:
            raise BenchError(f"the usual service answered {answer.status_code}")


@asynccontextmanager
async def run_easel(card: ModelCard) -> AsyncIterator[Easel]:
    """An installation with a broker and a store of its own. Raises ``BenchError``, ``LocalStackError``."""
    async with AsyncExitStack() as ends:
        # Starting and stopping processes blocks, and has event loops of its own.
        stack, folder = await _entered(ends, fresh_stack())
        await asyncio.to_thread(stack.up)
        installation = await asyncio.to_thread(
            lambda: Installation(stack.endpoints, "bench-engine", folder / "easel", stored=True, models=_models(card))
        )
        ends.push_async_callback(asyncio.to_thread, installation.stop)
        await asyncio.to_thread(installation.start)
        settings = installation.settings
        clients = [
            await ends.enter_async_context(
                Client(tenant=tenant, signer=installation.signer(tenant), kafka=settings.kafka)
            )
            for tenant in (installation.tenants_of(number)[0] for number in range(PARTITIONS))
        ]
        yield Easel(stack, installation, clients)


@asynccontextmanager
async def run_usual_service(card: ModelCard, waiting: str) -> AsyncIterator[UsualService]:
    """The service, with its OpenMP threads ``waiting`` as is best here. Raises ``BenchError``."""
    async with AsyncExitStack() as ends:
        _, folder = await _entered(ends, fresh_stack())
        port = free_port()
        variables = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if waiting != "default":
            variables["OMP_WAIT_POLICY"] = waiting
        given = (str(pipeline_folder(card)), card.dtype, card.device, str(available_cores()), str(port))
        part = Part(
            # The file alone: its folder, and with it ours, is not to be found by imports.
            [sys.executable, "-P", usual_service.__file__, *given],
            folder / "service.log",
            environment=variables,
            health=port,
        )
        ends.push_async_callback(asyncio.to_thread, part.stop)
        await asyncio.to_thread(part.wait_ready)
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_REQUEST_S, trust_env=False)
        yield UsualService(await ends.enter_async_context(http), card)


async def _entered(ends: AsyncExitStack, block: Any) -> Any:
    """Enter a context in a thread, and leave it in one."""
    found = await asyncio.to_thread(block.__enter__)
    ends.push_async_callback(asyncio.to_thread, block.__exit__, None, None, None)
    return found


def _models(card: ModelCard) -> dict[str, Any]:
    given = card.model_dump(mode="json", exclude_defaults=True)
    return {MODEL: given, EMPTY: {**given, "engine": "null"}}

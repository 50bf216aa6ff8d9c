"""The bare diffusers loop in a process of its own, as the engine has one, and in the form that is best here.

How OpenMP's threads wait for each other decides everything on a busy machine: by default they spin, which is a little
quicker alone, and many times slower beside other work. Easel's engine lets them sleep. So that the ratio tells neither
of the two, the bare loop is tried both ways, and the quicker one is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

from consumer.engine.contract import Batch
from consumer.engine.weights import pipeline_folder
from ops.bench import bare
from ops.bench.report import BenchError, Run
from schemas.catalog import ModelCard

__all__ = ["BareProcess", "best_bare_process"]

_START_S = 600.0
_RUN_S = 600.0
_STOP_S = 10.0
_TRIES = 3
_LAST_WORDS_CHARS = 2_000
_WAITING = "OMP_WAIT_POLICY"


class BareProcess:
    """Speaks to the process. ``waiting``: how its OpenMP threads wait for each other."""

    def __init__(self, process: asyncio.subprocess.Process, words: Any, waiting: str) -> None:
        self._process = process
        self._words = words
        self.waiting = waiting

    async def run(self, batch: Batch, batches: int) -> Run:
        """Make ``batch`` so many times. Raises ``BenchError`` with its last words when the process has ended."""
        shape = batch.shape
        asked = {
            "width": shape.width,
            "height": shape.height,
            "steps": shape.steps,
            "guidance": shape.guidance,
            "prompts": [item.prompt for item in batch.items],
            "seeds": [item.seed for item in batch.items],
            "batches": batches,
        }
        if self._process.stdin is None:
            raise BenchError("the bare loop has no standard input; this is a defect")
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        answer = await self.answer(_RUN_S)
        return Run(answer["seconds"], answer["cpu_seconds"], answer["sha256"])

    async def answer(self, limit_s: float) -> dict[str, Any]:
        """Its next line. Raises ``BenchError``."""
        if self._process.stdout is None:
            raise BenchError("the bare loop has no standard output; this is a defect")
        try:
            async with asyncio.timeout(limit_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchError(f"the bare loop said nothing for {limit_s:g} s") from None
        if not line:
            self._words.seek(0)
            words = self._words.read().decode("utf-8", "replace").strip()[-_LAST_WORDS_CHARS:]
            raise BenchError(f"the bare loop has ended; its last words:\n{words}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.asynccontextmanager
async def best_bare_process(card: ModelCard, threads: int, batch: Batch) -> AsyncIterator[BareProcess]:
    """The loop with the pipeline of ``card`` loaded, in the form that makes ``batch`` soonest; killed at the end.

    Raises ``BenchError`` when it can't be loaded.
    """
    given = os.environ.get(_WAITING)
    async with contextlib.AsyncExitStack() as stack:
        own: dict[BareProcess, contextlib.AsyncExitStack] = {}
        for waiting in ("default", "PASSIVE") if given is None else (given,):
            ends = await stack.enter_async_context(contextlib.AsyncExitStack())
            own[await ends.enter_async_context(_bare_process(card, threads, waiting))] = ends
        best = await _quickest(list(own), batch)
        for process, ends in own.items():
            if process is not best:
                await ends.aclose()
        yield best


async def _quickest(processes: Sequence[BareProcess], batch: Batch) -> BareProcess:
    if len(processes) == 1:
        return processes[0]
    took = dict.fromkeys(processes, 0.0)
    for number in range(1 + _TRIES):
        for process in processes:
            seconds = (await process.run(batch, 1)).seconds
            # Not of the first: kernels are chosen, and memory is taken, at a first call.
            took[process] += seconds if number else 0.0
    return min(took, key=lambda process: took[process])


@contextlib.asynccontextmanager
async def _bare_process(card: ModelCard, threads: int, waiting: str) -> AsyncIterator[BareProcess]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_")}
    if waiting != "default":
        environment[_WAITING] = waiting
    with tempfile.TemporaryFile() as words:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            # The file alone: its folder, and with it ours, is not to be found by imports.
            "-P",
            bare.__file__,
            str(pipeline_folder(card)),
            card.dtype,
            card.device,
            str(threads),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=words,
            env={**environment, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
            # A Ctrl-C at the terminal is for us, who end it.
            process_group=0,
        )
        try:
            started = BareProcess(process, words, waiting)
            await started.answer(_START_S)
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await process.wait()

"""Several processes in one terminal: each line with the name of its process before it, and one end for all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

__all__ = ["StageProcess", "readable", "run_stage"]

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
_LINE_LIMIT = 256 * 1024
_KILL_LIMIT_S = 5.0
_LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}


@dataclass(frozen=True, slots=True)
class StageProcess:
    """A process to run: its name, its command line, and what is laid over this process's environment."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


async def run_stage(processes: Sequence[StageProcess], console: Console, *, grace_s: float) -> int:
    """Run them until one ends or this is interrupted; then end the others, by SIGTERM and after ``grace_s`` by SIGKILL.

    A second interrupt kills at once. Nothing that was started outlives this call, children of children included.
    Returns 0 after an interrupt when all ended well, else 1.
    """
    interrupted = asyncio.Event()
    impatient = asyncio.Event()

    def interrupt() -> None:
        (impatient if interrupted.is_set() else interrupted).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    started: list[tuple[str, asyncio.subprocess.Process]] = []
    tasks: list[asyncio.Task[int]] = []
    width = max(len(process.name) for process in processes)
    try:
        for index, process in enumerate(processes):
            child = await _start(process)
            started.append((process.name, child))
            prefix = Text(f"{process.name:<{width}} │ ", style=_COLOURS[index % len(_COLOURS)])
            tasks.append(asyncio.create_task(_relay(child, prefix, console)))
        waiting = asyncio.create_task(interrupted.wait())
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for (name, _), task in zip(started, tasks, strict=True):
            if task.done() and not interrupted.is_set():
                console.print(f"{name} ended with {task.result()}: stopping the others", style="red")
        asked = interrupted.is_set()
        if asked:
            console.print("stopping; once more to kill", style="dim")
        _end(started)
        await _all_ended(tasks, impatient, grace_s)
    finally:
        _kill(started)
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), _KILL_LIMIT_S)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return 0 if asked and all(end in {0, -signal.SIGTERM} for end in ends) else 1


async def _start(process: StageProcess) -> asyncio.subprocess.Process:
    # A session of its own: the terminal's Ctrl-C reaches this process alone, which ends the others in order.
    return await asyncio.create_subprocess_exec(
        *process.command,
        env={**os.environ, **process.environment, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=_LINE_LIMIT,
    )


async def _relay(child: asyncio.subprocess.Process, prefix: Text, console: Console) -> int:
    output = child.stdout
    while output is not None:
        try:
            line = await output.readline()
        except ValueError:
            # Longer than the limit: what was read of it is gone, and the rest follows.
            continue
        if not line:
            break
        console.print(prefix + readable(line.decode("utf-8", "replace").rstrip()), soft_wrap=True)
    return await child.wait()


async def _all_ended(tasks: Sequence[asyncio.Task[int]], impatient: asyncio.Event, grace_s: float) -> None:
    ended = asyncio.ensure_future(asyncio.wait(tasks, timeout=grace_s))
    hurried = asyncio.create_task(impatient.wait())
    await asyncio.wait([ended, hurried], return_when=asyncio.FIRST_COMPLETED)
    for waiting in (ended, hurried):
        waiting.cancel()


def _end(started: Sequence[tuple[str, asyncio.subprocess.Process]]) -> None:
    for _, child in started:
        if child.returncode is None:
            child.terminate()


def _kill(started: Sequence[tuple[str, asyncio.subprocess.Process]]) -> None:
    # The group, also when its leader has ended: a grandchild may have stayed.
    for _, child in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def readable(line: str) -> Text:
    """A log line for people: a structured one (JSON) as time, message and fields, any other as it is."""
    try:
        fields = json.loads(line)
    except ValueError:
        return Text(line)
    if not isinstance(fields, dict) or "event" not in fields:
        return Text(line)
    level = str(fields.pop("level", "info"))
    clock = str(fields.pop("timestamp", ""))[11:19]
    text = Text(f"{clock} " if clock else "", style="dim")
    text.append(str(fields.pop("event")), style=_LEVEL_STYLES.get(level, ""))
    fields.pop("stage", None)
    for name, value in fields.items():
        text.append(f"  {name}=", style="dim")
        text.append(str(value))
    return text

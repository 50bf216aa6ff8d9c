"""One engine process and the socket to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping

from consumer.engine.contract import EngineError
from consumer.engine.wire import FromChild, Problem, ToChild, pack, read

__all__ = ["ChildConnection", "EngineLostError", "start_child"]

_START_S = 120.0
"""Limit on the start of the process: it imports torch, from a cold disk perhaps."""
_READ_LIMIT = 16 * 2**20
_LAST_WORDS_S = 2.0
_STDERR_LINES = 40
_STDERR_LINE_CHARS = 2_000
# What the engine has no use for: it runs pipelines that others made.
_PASSED_ON = ("EASEL_NULL_STEP_S",)


class EngineLostError(Exception):
    """The engine's process is gone.

    ``cause``: ``died``, ``hang``, ``memory``, ``stopped``, or ``load`` while it loaded a model.
    ``how`` it went may be told to anyone; the message, which has its last words too, is for operators.
    """

    def __init__(self, cause: str, how: str, last_words: str = "", *, killed: bool = False) -> None:
        """``killed``: from outside, which says nothing about the engine itself."""
        super().__init__(cause, how, last_words)
        self.killed = killed
        self.cause = cause
        self.how = how
        self.last_words = last_words

    @property
    def message(self) -> str:
        return self.how + (f"; the end of its stderr:\n{self.last_words}" if self.last_words else "")

    def __str__(self) -> str:
        return self.message


class ChildConnection:
    """A running child. Its messages are read as they come, so that its end is known also while nobody asks."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_stderr: Callable[[str], None],
    ) -> None:
        self._process = process
        self._writer = writer
        self._on_stderr = on_stderr
        self._tail: deque[str] = deque(maxlen=_STDERR_LINES)
        self._answers: asyncio.Queue[FromChild | None] = asyncio.Queue()
        self._cause = "died"
        self._tasks = [
            asyncio.create_task(self._read(reader), name="engine-read"),
            asyncio.create_task(self._follow_stderr(), name="engine-stderr"),
        ]

    @classmethod
    async def start(cls, on_stderr: Callable[[str], None], environment: Mapping[str, str]) -> ChildConnection:
        """Start a process, with these variables beside ours. It says ``Hello`` when it is up."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "consumer.engine.child",
                str(theirs.fileno()),
                str(os.getpid()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={**_environment(), **environment},
                # A Ctrl-C at the terminal is for the worker, which drains.
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_LIMIT)
        return cls(process, reader, writer, on_stderr)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether neither the process nor its end of the socket is known to be gone."""
        return self._process.returncode is None and not self._writer.is_closing()

    def send(self, message: ToChild) -> None:
        """Hand over a message; one to a child that is gone is dropped, and the next ``answer`` says so."""
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    async def answer(self, limit_s: float) -> FromChild:
        """The next message. A child that says nothing for ``limit_s`` is killed.

        Raises ``EngineError`` for a ``Problem``, ``EngineLostError`` when the child is gone or was killed.
        """
        try:
            async with asyncio.timeout(limit_s):
                message = await self._answers.get()
        except TimeoutError:
            self.kill("hang")
            await self.ended()
            raise EngineLostError("hang", f"the engine said nothing for {limit_s:g} s and was killed") from None
        if message is None:
            # For those who ask again.
            self._answers.put_nowait(None)
            cause = await self.ended()
            killed = cause == "died" and self._process.returncode == -signal.SIGKILL
            raise EngineLostError(cause, self._how_it_ended(), "\n".join(self._tail), killed=killed)
        if isinstance(message, Problem):
            raise EngineError(message.code, message.message)
        return message

    def kill(self, cause: str = "died") -> None:
        """End it at once: it may hang in a driver, and holds nothing worth saving. ``cause`` is what will be told."""
        if self._process.returncode is None:
            self._cause = cause
            self._kill()

    async def ended(self) -> str:
        """Wait for the end of the process; the cause of it."""
        await self._process.wait()
        # Not for ever: a process that it started may hold on to its stderr.
        await asyncio.wait(self._tasks, timeout=_LAST_WORDS_S)
        return self._cause

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                self._answers.put_nowait(await read(reader))
        except (asyncio.IncompleteReadError, OSError):
            pass
        except Exception as error:
            # Whatever it is, nothing after it can be told apart.
            self._note(f"what the engine sent can't be read: {error!r}")
        finally:
            self._writer.close()
            self._kill()
            self._answers.put_nowait(None)

    def _kill(self) -> None:
        # Not by the process object: it looks first whether the process has ended, and so takes its status from asyncio,
        # which then knows of nothing but a 255.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _follow_stderr(self) -> None:
        stderr = self._process.stderr
        if stderr is None:
            return
        rest = ""
        while part := await stderr.read(65_536):
            *lines, rest = (rest + part.decode("utf-8", "replace")).split("\n")
            for line in lines:
                self._note(line)
            rest = rest[-_STDERR_LINE_CHARS:]
        self._note(rest)

    def _note(self, line: str) -> None:
        text = line.rstrip()[:_STDERR_LINE_CHARS]
        if text:
            self._tail.append(text)
            self._on_stderr(text)

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is not None and code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL and self._cause == "died":
                how += " (the kernel does so when memory runs out)"
        else:
            how = f"ended with status {code}"
        return f"the engine's process {how}"


async def start_child(on_stderr: Callable[[str], None], environment: Mapping[str, str]) -> ChildConnection:
    """Start a process and wait until it is up. Raises ``EngineLostError`` when it doesn't come."""
    try:
        child = await ChildConnection.start(on_stderr, environment)
    except OSError as error:
        raise EngineLostError("died", f"the engine's process can't be started: {error}") from None
    try:
        await child.answer(_START_S)
    except BaseException:
        child.kill()
        raise
    return child


def _environment() -> dict[str, str]:
    """Ours without the secrets, and with the network off."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EASEL_") or name in _PASSED_ON}
    # OpenMP's threads spin at their barriers by default. Beside anything else that is busy, as our own encoders are,
    # they then wait for a thread that has no core: seen 18 s instead of 1 s for a batch.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What libraries tell their developers.
    kept.setdefault("PYTHONWARNINGS", "ignore::FutureWarning,ignore::DeprecationWarning")
    kept.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    kept.setdefault("KINETO_LOG_LEVEL", "99")
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

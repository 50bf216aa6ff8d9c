"""``python -m producer_api``: the HTTP API, with its settings from the environment."""

from __future__ import annotations

import gc
import logging
import resource
import sys

import uvloop
from pydantic import ValidationError

from producer_api.server import run_api
from producer_api.services import StartupError
from schemas.settings import ApiSettings, Settings
from schemas.yaml_file import ConfigError
from transport.ending import end_within
from transport.logs import configure, show_prompts
from transport.tracing import tracing

__all__ = ["main"]


log = logging.getLogger(__name__)

EXIT_CONFIGURATION = 78
"""Something that only a person can mend (``EX_CONFIG`` of sysexits.h): restarting does not help."""

_FILES_BESIDE = 256
"""Connections to Kafka and the store, temporary files, the log."""

_END_S = 5.0
"""For what libraries have left behind, once all connections are closed."""

_COLLECTED_AFTER = 20_000
"""Objects that were made and not freed, until cycles are looked for: a request leaves none of ours behind."""


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 after a clean end, 78 for settings that can't work."""
    configure()
    try:
        settings = Settings()
        show_prompts(settings.log_prompts)
        _log_to_file(settings.api)
        tracing.start("easel-api", endpoint=settings.tracing.endpoint, installation=settings.installation)
        _allow_files(settings.api.connections)
        # What is there already stays, and need not be looked through again.
        gc.freeze()
        gc.set_threshold(_COLLECTED_AFTER)
        uvloop.run(_serve(settings))
    except ValidationError as error:
        # Not the error as it is: it repeats what was given, and that may be a secret.
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(["EASEL", *(str(part) for part in first["loc"])]).upper()
        return _cannot_run(f"{name}: {first['msg']}")
    except (StartupError, ConfigError) as error:
        return _cannot_run(str(error))
    finally:
        tracing.stop()
    return 0


async def _serve(settings: Settings) -> None:
    await run_api(settings)
    end_within(_END_S, 0)


def _log_to_file(api: ApiSettings) -> None:
    if api.log_file is None:
        return
    try:
        configure(file=api.log_file, file_bytes=api.log_file_mib * 2**20, files=api.log_files)
    except OSError as error:
        raise StartupError(f"EASEL_API_LOG_FILE: {api.log_file} can't be written: {error.strerror}") from None


def _allow_files(connections: int) -> None:
    """Raise the soft limit of open files, which is often 1,024, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _FILES_BESIDE
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning("only %d files may be open: fewer than EASEL_API_CONNECTIONS=%d needs", most, connections)


def _cannot_run(why: str) -> int:
    # Whoever started it looks there, whatever the file.
    configure()
    log.critical("can't run: %s", why)
    return EXIT_CONFIGURATION


if __name__ == "__main__":
    sys.exit(main())

"""``python -m producer_api``: the HTTP API, with its settings from the environment."""

from __future__ import annotations

import asyncio
import logging
import sys

from pydantic import ValidationError

from producer_api.server import run_api
from producer_api.services import StartupError
from schemas.settings import Settings
from schemas.yaml_file import ConfigError
from transport.logs import configure

__all__ = ["main"]


log = logging.getLogger(__name__)

EXIT_CONFIGURATION = 78
"""Something that only a person can mend (``EX_CONFIG`` of sysexits.h): restarting does not help."""


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 after a clean end, 78 for settings that can't work."""
    configure()
    try:
        asyncio.run(run_api(Settings()))
    except ValidationError as error:
        # Not the error as it is: it repeats what was given, and that may be a secret.
        first = error.errors(include_url=False, include_input=False)[0]
        name = "_".join(["EASEL", *(str(part) for part in first["loc"])]).upper()
        log.critical("can't run: %s: %s", name, first["msg"])
        return EXIT_CONFIGURATION
    except (StartupError, ConfigError) as error:
        log.critical("can't run: %s", error)
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main())

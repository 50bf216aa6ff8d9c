"""``python -m producer_api``: the HTTP API, with its settings from the environment."""

from __future__ import annotations

import asyncio
import sys

from pydantic import ValidationError

from producer_api.logs import configure
from producer_api.server import run_api
from producer_api.services import StartupError
from schemas.settings import Settings
from schemas.yaml_file import ConfigError

__all__ = ["main"]


def main() -> int:
    """Run until stopped; 0 after a clean end, 2 for settings that can't work."""
    configure()
    try:
        asyncio.run(run_api(Settings()))
    except (StartupError, ConfigError, ValidationError) as error:
        print(f"easel api: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

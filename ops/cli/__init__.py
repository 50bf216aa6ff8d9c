"""The command ``easel``. Each group of subcommands is a module of its own; ``app`` puts them together."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line in ``sys.argv`` and return the exit code."""
    try:
        from ops.cli.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"ops", "schemas", "transport"}:
            raise
        remedy = "pip install '.[service,local]' in a clone of easel"
        sys.stderr.write(f"easel: the command needs the package {error.name!r}: {remedy}\n")
        return 4
    return run()

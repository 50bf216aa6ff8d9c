"""``easel admission``, ``worker``, ``webhooks``, ``api`` and ``all``: the services themselves."""

from __future__ import annotations

import asyncio
import os
import sys

import typer

from ops.cli.installation import adopt, role_environment, settings, settings_of_installation
from ops.cli.services import MODULES
from ops.cli.terminal import err
from ops.stage import StageProcess, run_stage

__all__ = ["admission", "all_", "api", "webhooks", "worker"]

_STOP_MARGIN_S = 5.0


def admission() -> None:
    """Run the admission stage: decides each request, and keeps every tenant's account."""
    _become("admission")


def worker() -> None:
    """Run a worker of the generation stage: makes the pictures."""
    _become("worker")


def webhooks() -> None:
    """Run the webhooks stage: posts results to the endpoints that tenants name."""
    _become("webhooks")


def api() -> None:
    """Run the HTTP API, for those who have no Kafka client."""
    _become("api")


def all_() -> None:
    """Run admission, a worker, webhooks and the API in this terminal. Ctrl-C ends them all; a second one kills them."""
    found = settings_of_installation()
    grace_s = found.generation.drain_s + _STOP_MARGIN_S
    processes = [
        StageProcess(name, [sys.executable, "-m", module], role_environment(name)) for name, module in MODULES.items()
    ]
    err.print(
        f"starting {', '.join(MODULES)}; the API will be on http://{found.api.host}:{found.api.port}  (page: /docs)"
    )
    raise typer.Exit(asyncio.run(run_stage(processes, err, grace_s=grace_s)))


def _become(name: str) -> None:
    # Checked here, where a mistake is one line; then this process becomes the service, and signals are its own.
    adopt()
    os.environ.update(role_environment(name))
    settings()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", MODULES[name]])  # noqa: S606

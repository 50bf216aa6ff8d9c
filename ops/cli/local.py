"""``easel up``, ``down`` and ``status``: the stack on this machine."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.text import Text

from ops.cli.devfiles import DEV_TENANTS, environment, make_tenants, sdk_environment
from ops.cli.installation import BROKER_VARIABLE, DATA_VARIABLE, DEMO, data_dir, read_env, settings, write_env
from ops.cli.secure import provide_users, secure_environment
from ops.cli.services import Services
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json, this_command
from ops.local.stack import Endpoints, Stack
from transport.objects import ObjectStore

__all__ = ["DataOption", "down", "status", "up"]

_PARTITIONS = 4
"""Enough for a machine with a few cores, and quick to start."""
_PROBE_S = 2.0
_STYLES = {"running": "green", "ready": "green", "stopped": "dim"}

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help=f"Data directory (default: ${DATA_VARIABLE}, else .easel).", show_default=False),
]
_JSON = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


def up(
    data: DataOption = None,
    secure: Annotated[
        bool, typer.Option("--secure", help="With TLS, and a user for each role who may do what it needs, no more.")
    ] = False,
    as_json: _JSON = False,
) -> None:
    """Start a Kafka and an object store here, with tenants and keys made for them.

    Their settings go to DATA/env, where every other command finds them. What runs already is left as it is.
    A data directory that was once started with --secure stays so.
    """
    directory = (data or data_dir()).resolve()
    models = Path("models.yaml")
    if not models.exists():
        raise CommandError("there is no models.yaml here", "run this in a clone of easel", code=ExitCode.SETUP)
    stack = Stack(directory, store_fallback=True, secure=secure, report=lambda line: err.print(line, markup=False))
    endpoints = stack.up()
    make_tenants(directory, DEV_TENANTS, own_topics=endpoints.ca_file is not None)
    path = directory / "env"
    variables = {
        **environment(directory, endpoints, models=models, kept=read_env(path), partitions=_PARTITIONS),
        **secure_environment(directory, endpoints),
    }
    write_env(path, {**variables, **sdk_environment(directory, DEV_TENANTS[0])})
    asyncio.run(_make_bucket(endpoints))
    users = provide_users(directory, endpoints, variables) if endpoints.ca_file else []
    if as_json:
        print_json(
            {
                "kafka": endpoints.kafka,
                "store": endpoints.store,
                "env": str(path),
                "tenants": str(directory / "tenants.yaml"),
                "users": users,
            }
        )
        return
    out.print(f"Kafka     {endpoints.kafka}")
    out.print(f"store     {endpoints.store}  (keys in {directory / 'keys'})")
    out.print(f"tenants   {', '.join(tenant.id for tenant in DEV_TENANTS)}  (in {directory / 'tenants.yaml'})")
    if users:
        out.print(f"users     {', '.join(users)}  (secrets in {directory / 'users'})")
    out.print(f"logs      {directory / 'logs'}")
    if directory != Path(".easel").resolve():
        out.print(f"For the other commands:  export {DATA_VARIABLE}={directory}")
    if os.environ.get(BROKER_VARIABLE, endpoints.kafka) != endpoints.kafka:
        err.print(f"{BROKER_VARIABLE} is set: other commands go there, and not here, until it is unset", style="yellow")
    easel = this_command()
    out.print(f"Next: {easel} topics && {easel} all, and in another terminal:")
    out.print(f'      {easel} submit "a small red circle on a white background"')


def down(data: DataOption = None) -> None:
    """Stop what `easel up` and `easel demo --keep` started in this data directory, and nothing else. Data stays."""
    directory = (data or data_dir()).resolve()
    stopped: list[str] = []
    for started in (directory / DEMO, directory):
        if (started / "run").is_dir():
            stopped += Services(started).stop()
            stopped += Stack(started, store_fallback=True).down()
    err.print(f"stopped {', '.join(stopped)}" if stopped else f"nothing that was started in {directory} is running")


async def _make_bucket(endpoints: Endpoints) -> None:
    async with ObjectStore(endpoints.store_root) as store:
        await store.ensure_bucket()


@dataclass(frozen=True, slots=True)
class _Line:
    part: str
    state: str
    where: str
    detail: str = ""


def status(data: DataOption = None, as_json: _JSON = False) -> None:
    """Say what runs: the parts of the local stack, and each service. Exit code 3 if anything is not ready."""
    directory = (data or data_dir()).resolve()
    if data:
        os.environ.update(read_env(data / "env"))
    lines: list[_Line] = []
    if (directory / "run").is_dir():
        parts = Stack(directory, store_fallback=True).status()
        lines = [_Line(part.name, part.state, part.address, f"pid {part.pid}" if part.pid else "") for part in parts]
    found = settings()
    stages: dict[str, tuple[str, int]] = {
        "admission": (found.admission.health_host, found.admission.health_port),
        "worker": (found.generation.health_host, found.generation.health_port),
        "webhooks": (found.webhooks.health_host, found.webhooks.health_port),
        "api": (found.api.host, found.api.port),
    }
    lines += [_probe(name, *address) for name, address in stages.items()]
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        width = max(len(line.where) for line in lines)
        for line in lines:
            text = Text(f"{line.part:<10}")
            text.append(f"{line.state:<15}", style=_STYLES.get(line.state, "yellow"))
            out.print(text.append(f"{line.where:<{width}}  {line.detail}"))
    if any(line.state not in {"running", "ready"} for line in lines):
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _probe(name: str, host: str, port: int) -> _Line:
    host = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104
    where = f"http://{host}:{port}"
    try:
        answer = httpx.get(f"{where}/health/ready", timeout=_PROBE_S, trust_env=False)
    except httpx.HTTPError:
        return _Line(name, "stopped", where)
    if answer.status_code == httpx.codes.OK:
        return _Line(name, "ready", where, _said(answer, "notes") or "")
    return _Line(name, "not ready", where, _reasons(answer))


def _reasons(answer: httpx.Response) -> str:
    said = _said(answer, "reasons")
    if said is None:
        return f"HTTP {answer.status_code}, not easel's answer: does something else listen there?"
    return said or f"HTTP {answer.status_code}"


def _said(answer: httpx.Response, what: str) -> str | None:
    """A list in a service's answer as one line; None when it is not such an answer."""
    try:
        body: Any = answer.json()
        return "; ".join(map(str, body.get(what, ())))
    except (json.JSONDecodeError, AttributeError):
        return None

"""``easel cancel`` and ``easel delete``: stop requests, and remove the pictures of those that have ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import typer

from ops.cli.asking import JsonOption, KeyOption, KidOption, TenantOption, asker
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json
from producer_api import Client, ClientError, TimedOut, Unreachable
from schemas.events import CancelAccepted, Deleted

__all__ = ["cancel", "delete"]

_Ask = Callable[[str], Awaitable[CancelAccepted | Deleted]]
_Answer = CancelAccepted | Deleted | ClientError

_SAID = {
    "queued": "canceled; it waited, and is refunded whole",
    "unknown": "not known; if it still arrives within 10 minutes, it is canceled",
}
_STOPS = "it is with a worker and stops at its next step; its end says what the steps that ran cost"

Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of requests, as `easel submit` shows them.")]


def cancel(
    ids: Ids,
    tenant: TenantOption = "",
    key: KeyOption = None,
    kid: KidOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answers.", min=1)] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Stop requests. Those that wait cost nothing; of those that run, the steps that ran are charged.

    Exit code 1 if one of them had ended already. To cancel twice is safe.
    """
    client = asker(tenant, key=key, kid=kid).client

    def ask(id_: str) -> Awaitable[CancelAccepted]:
        return client.cancel(id_, timeout_s=timeout)

    _tell(ids, asyncio.run(_ask_all(client, ids, ask)), as_json=as_json)


def delete(
    ids: Ids,
    tenant: TenantOption = "",
    key: KeyOption = None,
    kid: KidOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask whether it is meant.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it is done.", min=1)] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Delete the pictures of requests that have ended, for good. What they cost stays charged.

    Exit code 1 if one of them has not ended: cancel it first.
    """
    client = asker(tenant, key=key, kid=kid).client
    if not yes:
        _require_meant(ids)

    def ask(id_: str) -> Awaitable[Deleted]:
        return client.delete(id_, timeout_s=timeout)

    _tell(ids, asyncio.run(_ask_all(client, ids, ask)), as_json=as_json)


def _require_meant(ids: Sequence[str]) -> None:
    if not sys.stdin.isatty():
        raise CommandError("this deletes pictures, and there is no one to ask", "say --yes", code=ExitCode.USAGE)
    what = ids[0] if len(ids) == 1 else f"{len(ids)} requests"
    if not typer.confirm(f"Delete the pictures of {what} for good?", err=True):
        raise typer.Exit(ExitCode.OK)


async def _ask_all(client: Client, ids: Sequence[str], ask: _Ask) -> list[_Answer]:
    async def answer(id_: str) -> _Answer:
        try:
            return await ask(id_)
        except ClientError as error:
            return error

    async with client:
        return list(await asyncio.gather(*(answer(id_) for id_ in ids)))


def _tell(ids: Sequence[str], answers: Sequence[_Answer], *, as_json: bool) -> None:
    for id_, answer in zip(ids, answers, strict=True):
        if as_json:
            print_json(_as_json(id_, answer))
        elif isinstance(answer, ClientError):
            err.print(f"{id_}: {answer.error.code}: {answer.error.message}", style="red", markup=False)
        else:
            out.print(f"{id_}: {_said(answer)}", markup=False)
    if any(isinstance(answer, TimedOut | Unreachable) for answer in answers):
        raise typer.Exit(ExitCode.UNAVAILABLE)
    if any(isinstance(answer, ClientError) for answer in answers):
        raise typer.Exit(ExitCode.FAILED)


def _said(answer: CancelAccepted | Deleted) -> str:
    if isinstance(answer, Deleted):
        return f"deleted, {answer.objects} object{'s' * (answer.objects != 1)}"
    return _SAID.get(answer.state, _STOPS)


def _as_json(id_: str, answer: _Answer) -> dict[str, Any]:
    if isinstance(answer, ClientError):
        event = getattr(answer, "event", None)
        state = getattr(event, "state", None)
        return {"request_id": id_, "state": state, "error": answer.error.model_dump(mode="json")}
    return {**answer.model_dump(mode="json"), "error": None}

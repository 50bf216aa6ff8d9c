"""The three ways in: the SDK, another system's own Kafka client, and the HTTP API. Each says what id a request got.

Each returns what was not as it must be, a line each: for the publisher's view, which the topics don't show.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from ops.cli.installation import signer_of
from ops.cli.terminal import CommandError
from ops.demo.plan import BY_HTTP, BY_PLAIN_CLIENT, BY_SDK, Planned, requests_of
from producer_api import Client, ClientError
from producer_api.sdk.handles import Handle
from schemas.requests import GenerationRequest
from schemas.settings import Settings

__all__ = ["Sent", "by_http", "by_plain_client", "by_sdk"]

Sent = Callable[[str, int, str], None]
"""Takes tenant, index and request id."""

_PLAIN_CLIENT = Path(__file__).with_name("plain_client.py")
_ENDED = frozenset({"succeeded", "failed", "canceled"})
_CALL_S = 20.0
_POLL_S = 0.4


async def by_sdk(settings: Settings, sent: Sent) -> list[str]:
    """Submit with the SDK, all at once, and wait for each result."""
    signer = signer_of(BY_SDK, settings, key_file=None, kid=None)
    client = Client(tenant=BY_SDK, signer=signer, kafka=settings.kafka, installation=settings.installation)
    handles: list[Handle] = []
    async with client:
        for index, planned in enumerate(requests_of(BY_SDK)):
            again = None if planned.repeats is None else handles[planned.repeats].request_id
            request = GenerationRequest.model_validate(planned.data)
            handles.append(await client.submit_request(request, request_id=again))
            sent(BY_SDK, index, handles[index].request_id)
        ends = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
    return [f"the SDK raised {end!r}" for end in ends if isinstance(end, ClientError)]


async def by_plain_client(settings: Settings, forged_key: Path, sent: Sent) -> list[str]:
    """Let a process that knows nothing of easel publish and follow."""
    kid = f"{BY_PLAIN_CLIENT}-1"
    key = settings.tenants.parent / "keys" / f"{kid}.key"
    requests = list(enumerate(requests_of(BY_PLAIN_CLIENT)))
    async with _plain_client(settings, kid, forged_key, [p for _, p in requests if p.forged]) as forger:
        for index in (index for index, planned in requests if planned.forged):
            # Nobody answers a forger: once it has published there is nothing to wait for.
            sent(BY_PLAIN_CLIENT, index, (await _event(forger))["request_id"])
    ended: dict[str, str] = {}
    async with _plain_client(settings, kid, key, [p for _, p in requests if not p.forged]) as client:
        for index in (index for index, planned in requests if not planned.forged):
            sent(BY_PLAIN_CLIENT, index, (await _event(client))["request_id"])
        while line := await _line(client):
            event = json.loads(line)
            ended[event["request_id"]] = event["type"]
        code = await client.wait()
    return [f"the plain client ended with exit code {code}"] if code else []


@asynccontextmanager
async def _plain_client(settings: Settings, kid: str, key: Path, requests: list[Planned]) -> AsyncIterator[Process]:
    options = {
        "--bootstrap": settings.kafka.bootstrap_servers,
        "--prefix": settings.kafka.prefix,
        "--audience": settings.installation,
        "--tenant": BY_PLAIN_CLIENT,
        "--kid": kid,
        "--key": str(key),
    }
    # A session of its own: Ctrl-C reaches this process, which ends that one.
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        str(_PLAIN_CLIENT),
        *(word for option in options.items() for word in option),
        stdin=PIPE,
        stdout=PIPE,
        stderr=None if os.environ.get("EASEL_TRACEBACK") else DEVNULL,
        start_new_session=True,
    )
    try:
        if client.stdin is not None:
            client.stdin.write("".join(json.dumps(planned.data) + "\n" for planned in requests).encode())
            await client.stdin.drain()
            client.stdin.close()
        yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            client.kill()
        await client.wait()


async def _line(client: Process) -> bytes:
    return b"" if client.stdout is None else await client.stdout.readline()


async def _event(client: Process) -> dict[str, Any]:
    line = await asyncio.wait_for(_line(client), _CALL_S)
    if not line:
        raise CommandError("the plain client ended before it had published", "EASEL_TRACEBACK=1 shows what it says")
    event: dict[str, Any] = json.loads(line)
    return event


async def by_http(settings: Settings, api_key: str, sent: Sent) -> list[str]:
    """Post to the HTTP API one by one, then ask for each task until it has ended, and fetch one picture."""
    problems: list[str] = []
    tasks: list[str] = []
    base = f"http://{settings.api.host}:{settings.api.port}"
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=_CALL_S, trust_env=False) as http:
        for index, planned in enumerate(requests_of(BY_HTTP)):
            answer = await http.post("/v1/generate", json=planned.data)
            expected = 202 if planned.ends == "succeeded" else 429
            if answer.status_code != expected:
                problems.append(f"POST /v1/generate answered {answer.status_code} instead of {expected}: {answer.text}")
            elif expected == httpx.codes.TOO_MANY_REQUESTS and "retry-after" not in answer.headers:
                problems.append("429 came without Retry-After")
            # A refusal is about a request too: its id is in a header.
            sent(BY_HTTP, index, answer.headers.get("easel-request-id", ""))
            if answer.status_code == httpx.codes.ACCEPTED:
                tasks.append(answer.json()["id"])
        for task in tasks:
            problems += await _ended(http, task)
        problems += await _picture(http, tasks[0]) if tasks else []
    return problems


async def _ended(http: httpx.AsyncClient, task: str) -> list[str]:
    while True:
        answer = await http.get(f"/v1/tasks/{task}")
        if answer.status_code != httpx.codes.OK:
            return [f"GET /v1/tasks/{task} answered {answer.status_code}"]
        if answer.json()["state"] in _ENDED:
            return []
        await asyncio.sleep(_POLL_S)


async def _picture(http: httpx.AsyncClient, task: str) -> list[str]:
    outputs = (await http.get(f"/v1/tasks/{task}")).json().get("outputs")
    if not outputs:
        return [f"the API names no picture of the task {task}"]
    named = outputs[0]
    answer = await http.get(named["path"])
    digest = hashlib.sha256(answer.content).hexdigest()
    return (
        [] if digest == named["sha256"] else [f"the picture that the API sent has sha256 {digest}, not that of {named}"]
    )

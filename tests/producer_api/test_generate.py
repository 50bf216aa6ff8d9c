"""``POST /v1/generate`` says what admission decided, in the one error shape where that is a refusal."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import Code, ErrorBody, ErrorType
from schemas.events import Event
from schemas.ids import new_id, require_request_id
from schemas.requests import read_request
from schemas.signing import verify
from schemas.tenants import load_tenants
from schemas.topics import Topics
from tests.producer_api.conftest import Api
from tests.producer_api.support import (
    TENANT,
    accepted,
    answer_requests,
    duplicate,
    home,
    next_request,
    rejected,
    succeeded,
)
from transport.tail import Tail

BODY = {"prompt": "a small red circle on a white background", "model": "easel-tiny", "images": 2, "seed": 7}


def one_shape(answer: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The error, after checking that the answer has the shape and the status."""
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert set(found) == {"error"}
    assert set(found["error"]) == {"message", "type", "param", "code"}
    assert (found["error"]["code"], found["error"]["param"]) == (code, param)
    ErrorBody.model_validate(found["error"])
    return dict(found["error"])


async def ask(api: Api, *answers: Event, **options: Any) -> httpx.Response:
    """Post a request while ``answers`` are given in admission's place."""
    async with asyncio.TaskGroup() as group:
        group.create_task(answer_requests(api.installation.settings.kafka, api.announcer, *answers))
        posted = group.create_task(
            api.http.post("/v1/generate", json=BODY, headers=api.installation.headers(), **options)
        )
    return posted.result()


async def test_what_is_accepted_is_answered_with_its_cost_and_place(api: Api) -> None:
    answer = await ask(api, accepted(new_id()))
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert (task["state"], task["cost_milliunits"], task["position"], task["seed"]) == ("accepted", 211, 3, 7)
    require_request_id(task["id"], at_ms=int(time.time() * 1000))
    assert task["links"]["self"] == f"/v1/tasks/{task['id']}" == answer.headers["location"]
    assert answer.headers["easel-request-id"] == task["id"]


async def test_what_is_published_is_signed_for_the_tenant_of_the_key(api: Api) -> None:
    settings = api.installation.settings
    await ask(api, accepted(new_id()))
    record = await next_request(settings.kafka)
    event = Envelope.read(record.headers, record.value)
    verified = verify(
        event.signature,
        keys=load_tenants(settings.tenants).keys,
        audience=settings.installation,
        event_type=event.type,
        event_id=event.id,
        body=event.data,
        appended_ms=record.timestamp_ms,
    )
    assert (verified.tenant, verified.issuer) == (TENANT, "easel-api")
    assert record.partition == home(settings.kafka)
    assert read_request(event.data).model_dump(exclude_defaults=True) == BODY


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (ErrorType.INVALID_REQUEST, Code.LIMIT_EXCEEDED, 400),
        (ErrorType.PERMISSION, Code.TENANT_SUSPENDED, 403),
        (ErrorType.PERMISSION, Code.MODEL_NOT_ALLOWED, 403),
        (ErrorType.NOT_FOUND, Code.MODEL_NOT_FOUND, 404),
        (ErrorType.RATE_LIMIT, Code.RATE_LIMITED, 429),
        (ErrorType.QUOTA, Code.BUDGET_DAY_EXCEEDED, 429),
        (ErrorType.RATE_LIMIT, Code.QUEUE_FULL, 429),
        (ErrorType.SERVER, Code.INTERNAL_ERROR, 500),
    ],
)
async def test_each_refusal_has_its_status(api: Api, kind: ErrorType, code: Code, status: int) -> None:
    body = ErrorBody(message="says admission", type=kind, param="model", code=code)
    answer = await ask(api, rejected(new_id(), body, retry_after_s=2.1 if status == 429 else None))
    assert one_shape(answer, status, code, "model")["message"] == "says admission"
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)
    refused = await api.http.get(f"/v1/tasks/{answer.headers['easel-request-id']}", headers=api.installation.headers())
    assert (refused.json()["state"], refused.json()["error"]["code"]) == ("rejected", code)


async def requests_published(kafka: KafkaSettings, count: int) -> None:
    """Wait until so many records lie on the requests topic."""
    seen = 0
    async with asyncio.timeout(20), Tail(kafka, [Topics(kafka.prefix).requests]) as tail:
        async for batch in tail:
            seen += len(batch)
            if seen >= count:
                return


async def test_a_request_of_ones_own_id_can_be_sent_again(api: Api) -> None:
    id_ = new_id()
    await api.announcer.say(accepted(id_), succeeded(id_))
    await api.until(id_, "succeeded")
    headers = {**api.installation.headers(), "Easel-Request-Id": id_}

    async def post(decision: Event, *, times: int) -> httpx.Response:
        async with asyncio.TaskGroup() as group:
            posted = group.create_task(api.http.post("/v1/generate", json=BODY, headers=headers))
            await requests_published(api.installation.settings.kafka, times)
            await api.announcer.say(decision)
        return posted.result()

    known = await post(duplicate(id_, "succeeded"), times=1)
    assert known.status_code == 202, known.text
    assert (known.json()["id"], known.json()["state"]) == (id_, "succeeded")
    assert known.json()["outputs"][0]["path"] == f"/v1/tasks/{id_}/images/0"
    one_shape(await post(duplicate(id_, conflict=True), times=2), 409, "id_conflict")


@pytest.mark.parametrize("id_", ["7", "0b0e2d3c-7a4c-4f5e-9d6b-3a1f2c4d5e6f", "' OR 1=1"])
async def test_an_id_that_cannot_be_one_is_refused_at_once(api: Api, id_: str) -> None:
    headers = {**api.installation.headers(), "Easel-Request-Id": id_}
    one_shape(await api.http.post("/v1/generate", json=BODY, headers=headers), 400, "id_invalid", "ce_id")


@pytest.mark.parametrize("api_wait", [0.2])
async def test_without_a_decision_in_time_the_task_is_submitted(api: Api, api_wait: float) -> None:
    services = api.app.state.services
    object.__setattr__(services.settings.api, "decision_wait_s", api_wait)
    answer = await api.http.post("/v1/generate", json=BODY, headers=api.installation.headers())
    assert (answer.status_code, answer.json()["state"]) == (202, "submitted")
    where = answer.headers["location"]
    assert (await api.http.get(where, headers=api.installation.headers())).json()["state"] == "submitted"
    assert (await api.http.get(where, headers=api.installation.headers("globex"))).status_code == 404
    await api.announcer.say(accepted(answer.json()["id"]))
    async with asyncio.timeout(10):
        while (await api.http.get(where, headers=api.installation.headers())).json()["state"] != "accepted":  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**BODY, "images": 11}, "images"),
        ({**BODY, "images": "2"}, "images"),
        ({**BODY, "promt": "x"}, "promt"),
        ({"model": "easel-tiny"}, "prompt"),
        ([], None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
async def test_a_body_that_cannot_be_right_is_refused_here(api: Api, body: object, param: str | None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {**api.installation.headers(), "Content-Type": "application/json"}
    answer = await api.http.post("/v1/generate", headers=headers, content=content)
    one_shape(answer, 400, "invalid_request", param)


async def test_a_body_that_is_too_large_is_not_read_to_its_end(api: Api) -> None:
    headers = {**api.installation.headers(), "Content-Type": "application/json"}
    # A request may hold pictures; what is not of them is as short as an event.
    padded = b'{"prompt": "a", "model": "easel-tiny"}' + b" " * 300_000
    answer = await api.http.post("/v1/generate", content=padded, headers=headers)
    one_shape(answer, 413, "record_too_large")
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 50_000_000:
            sent += 65_536
            yield b" " * 65_536

    try:
        answer = await api.http.post("/v1/generate", content=endless(), headers=headers)
    except httpx.TransportError:
        # The server has answered and closed; a client that goes on writing may see that first.
        pass
    else:
        one_shape(answer, 413, "record_too_large")
    assert sent < 50_000_000


async def test_another_content_type_is_refused(api: Api) -> None:
    headers = {**api.installation.headers(), "Content-Type": "text/plain"}
    one_shape(await api.http.post("/v1/generate", content=b"{}", headers=headers), 415, "invalid_request")


@pytest.mark.parametrize("traceparent", ["nonsense", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"])
async def test_a_trace_goes_on_and_a_broken_one_harms_nothing(api: Api, traceparent: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(answer_requests(api.installation.settings.kafka, api.announcer, accepted(new_id())))
        posted = group.create_task(
            api.http.post("/v1/generate", json=BODY, headers={**api.installation.headers(), "traceparent": traceparent})
        )
    assert posted.result().status_code == 202
    record = await next_request(api.installation.settings.kafka)
    found = Envelope.read(record.headers, record.value).traceparent
    assert found == (None if traceparent == "nonsense" else traceparent)
    assert ("traceparent", b"nonsense") not in record.headers

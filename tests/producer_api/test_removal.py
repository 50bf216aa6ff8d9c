"""Prices, keys, cancels and deletes over HTTP: what admission answered, as a status and a body."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.envelope import Envelope
from schemas.errors import Code
from schemas.events import Event
from schemas.ids import new_id
from schemas.requests import CancelRequest, DeleteRequest, GenerationRequest
from schemas.signing import verify
from schemas.tenants import load_tenants
from tests.producer_api.conftest import Api
from tests.producer_api.support import (
    accepted,
    answer_event,
    cancel_accepted,
    cancel_refused,
    canceled,
    delete_refused,
    deleted,
    duplicate,
    error,
    priced,
    rejected,
    started,
    succeeded,
)
from tests.producer_api.test_generate import BODY, one_shape

Maker = Callable[[str, str], Event]


async def ask(
    api: Api, method: str, path: str, event_type: str, *answers: Maker, json: Any = None, **headers: str
) -> httpx.Response:
    """An HTTP request while ``answers`` are given in admission's place."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with asyncio.TaskGroup() as group:
        if answers:
            group.create_task(answer_event(api.installation.settings.kafka, api.announcer, event_type, *answers))
        asked = group.create_task(
            api.http.request(method, path, json=json, headers={**api.installation.headers(), **names})
        )
    return asked.result()


async def cancel(api: Api, id_: str, *answers: Maker) -> httpx.Response:
    return await ask(api, "DELETE", f"/v1/tasks/{id_}", CancelRequest.TYPE, *answers)


async def delete(api: Api, id_: str, *answers: Maker) -> httpx.Response:
    return await ask(api, "DELETE", f"/v1/tasks/{id_}/outputs", DeleteRequest.TYPE, *answers)


def unknown(id_: str, cancel_id: str) -> Event:
    return cancel_accepted(id_, cancel_id, "unknown")


class TestCancel:
    async def test_one_that_waits_is_canceled(self, api: Api) -> None:
        id_ = new_id()
        await api.announcer.say(accepted(id_))
        await api.until(id_, "accepted")
        answer = await cancel(api, id_, lambda t, own: cancel_accepted(t, own, "queued"), lambda t, _: canceled(t))
        assert answer.status_code == 202, answer.text
        assert answer.json()["id"] == id_
        ended = await api.until(id_, "canceled")
        assert (ended["cost_milliunits"], ended["refunded_milliunits"]) == (0, 211)
        assert "cancel_requested" not in ended

    async def test_one_that_runs_says_that_it_is_to_stop(self, api: Api) -> None:
        id_ = new_id()
        await api.announcer.say(accepted(id_))
        await api.announcer.show(started(id_))
        await api.until(id_, "running")
        answer = await cancel(api, id_, cancel_accepted)
        assert answer.status_code == 202, answer.text
        assert (answer.json()["state"], answer.json()["cancel_requested"]) == ("running", True)
        await api.announcer.say(succeeded(id_))
        assert "cancel_requested" not in await api.until(id_, "succeeded")

    async def test_one_that_has_ended(self, api: Api) -> None:
        one_shape(await cancel(api, new_id(), cancel_refused), 409, "already_ended")

    async def test_one_that_nobody_knows(self, api: Api) -> None:
        one_shape(await cancel(api, new_id(), unknown), 404, "not_found", "id")

    async def test_one_that_only_admission_knows(self, api: Api) -> None:
        answer = await cancel(api, new_id(), cancel_accepted)
        assert (answer.status_code, answer.json()["state"]) == (202, "running")

    async def test_what_is_no_id(self, api: Api) -> None:
        one_shape(await cancel(api, "7"), 404, "not_found", "id")

    async def test_without_an_answer_in_time_it_is_not_called_unknown(self, api: Api) -> None:
        object.__setattr__(api.app.state.services.settings.api, "decision_wait_s", 0.2)
        one_shape(await cancel(api, new_id()), 503, "service_unavailable")
        id_ = new_id()
        await api.announcer.say(accepted(id_))
        await api.until(id_, "accepted")
        answer = await cancel(api, id_)
        assert (answer.status_code, answer.json()["state"]) == (202, "accepted")


class TestDelete:
    async def test_what_is_gone_is_gone_from_the_task_too(self, api: Api) -> None:
        id_ = new_id()
        await api.announcer.say(accepted(id_), succeeded(id_))
        await api.until(id_, "succeeded")
        answer = await delete(api, id_, deleted)
        assert (answer.status_code, answer.json()) == (200, {"id": id_, "state": "deleted", "objects": 2})
        task = await api.until(id_, "succeeded")
        assert "outputs" not in task
        assert task["outputs_deleted_at"]
        picture = await api.http.get(f"/v1/tasks/{id_}/images/0", headers=api.installation.headers())
        one_shape(picture, 410, "not_found", "id")

    @pytest.mark.parametrize(("code", "status"), [(Code.NOT_ENDED, 409), (Code.NOT_FOUND, 404)])
    async def test_refusals(self, api: Api, code: Code, status: int) -> None:
        answer = await delete(api, new_id(), lambda t, own: delete_refused(t, own, code))
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)

    async def test_a_worker_that_takes_its_time(self, api: Api) -> None:
        object.__setattr__(api.app.state.services.settings.api, "decision_wait_s", 0.2)
        id_ = new_id()
        answer = await delete(api, id_)
        assert (answer.status_code, answer.json()) == (202, {"id": id_, "state": "deleting"})


class TestPrice:
    async def price(self, api: Api, *answers: Maker) -> httpx.Response:
        body = {**BODY, "dry_run": True}
        return await ask(api, "POST", "/v1/generate", GenerationRequest.TYPE, *answers, json=body)

    async def test_the_price_is_the_answer(self, api: Api) -> None:
        answer = await self.price(api, lambda _, own: priced(own))
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "model": "easel-tiny",
            "cost_milliunits": 211,
            "acceptable": True,
            "cached": False,
            "position": 0,
        }
        assert "location" not in answer.headers

    async def test_a_price_that_would_be_refused_is_an_answer_too(self, api: Api) -> None:
        answer = await self.price(api, lambda _, own: priced(own, error()))
        assert (answer.status_code, answer.json()["acceptable"]) == (200, False)
        assert answer.json()["error"]["code"] == "rate_limited"

    async def test_what_has_no_price(self, api: Api) -> None:
        assert (await self.price(api, lambda _, own: rejected(own))).status_code == 429

    async def test_no_answer_in_time(self, api: Api) -> None:
        object.__setattr__(api.app.state.services.settings.api, "decision_wait_s", 0.2)
        one_shape(await self.price(api), 503, "service_unavailable")


class TestIdempotencyKey:
    async def post(self, api: Api, *answers: Maker, key: str = "order-7") -> httpx.Response:
        return await ask(api, "POST", "/v1/generate", GenerationRequest.TYPE, *answers, json=BODY, Idempotency_Key=key)

    async def test_it_is_signed_with_the_request(self, api: Api) -> None:
        settings = api.installation.settings
        async with asyncio.TaskGroup() as group:
            said = group.create_task(
                answer_event(settings.kafka, api.announcer, GenerationRequest.TYPE, lambda _, own: accepted(own))
            )
            group.create_task(self.post(api))
        record = said.result()
        event = Envelope.read(record.headers, record.value)
        assert event.extensions == {"idempotencykey": "order-7"}
        for key, believed in (("order-7", True), ("order-8", False), (None, False)):
            with contextlib.nullcontext() if believed else pytest.raises(Exception, match="idempotencykey"):
                verify(
                    event.signature,
                    keys=load_tenants(settings.tenants).keys,
                    audience=settings.installation,
                    event_type=event.type,
                    event_id=event.id,
                    body=event.data,
                    appended_ms=record.timestamp_ms,
                    idempotency_key=key,
                )

    async def test_a_known_key_is_answered_with_the_first_task(self, api: Api) -> None:
        first = new_id()
        await api.announcer.say(accepted(first), succeeded(first))
        await api.until(first, "succeeded")
        answer = await self.post(api, lambda _, own: duplicate(own, "succeeded", of=first))
        assert answer.status_code == 202, answer.text
        assert (answer.json()["id"], answer.json()["state"]) == (first, "succeeded")
        assert answer.json()["outputs"]
        assert answer.headers["easel-request-id"] == first
        assert answer.headers["location"] == f"/v1/tasks/{first}"

    async def test_also_where_the_first_is_not_kept_here_any_more(self, api: Api) -> None:
        first = new_id()
        answer = await self.post(api, lambda _, own: duplicate(own, "failed", of=first))
        assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (202, first, "failed")

    async def test_another_body_under_the_key(self, api: Api) -> None:
        answer = await self.post(api, lambda _, own: duplicate(own, of=new_id(), conflict=True))
        one_shape(answer, 422, "idempotency_conflict")

    @pytest.mark.parametrize("key", ["a b", "x" * 256])
    async def test_a_key_that_cannot_be_one(self, api: Api, key: str) -> None:
        one_shape(await self.post(api, key=key), 400, "invalid_request", "Idempotency-Key")

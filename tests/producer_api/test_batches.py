"""Several prompts at once beside the real stages: a task each, a group of them, and the same again when asked again."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from producer_api.app import create_app
from schemas.errors import Code
from schemas.ids import new_id, nth_id
from tests.house import House
from tests.producer_api.conftest import post
from tests.producer_api.support import served, until_ready
from tests.producer_api.test_generate import one_shape

pytestmark = [pytest.mark.system]

PROMPTS = ["a red circle", "a blue square", "a green star"]


async def ask(http: httpx.AsyncClient, tenant: str = "acme", **headers: str) -> httpx.Response:
    """Ask for three pictures."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"prompts": PROMPTS, "model": "nothing", "seed": 7, "metadata": {"issue": "spring"}}
    return await http.post("/v1/generate", json=body, headers={"X-API-Key": tenant, **named})


async def get(http: httpx.AsyncClient, path: str, tenant: str = "acme") -> httpx.Response:
    return await http.get(path, headers={"X-API-Key": tenant})


def ids(group: dict[str, Any]) -> list[str]:
    return [task["id"] for task in group["tasks"]]


async def test_a_batch_is_waited_for_and_found_by_group_and_metadata(
    house: House, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await house.worker().ready()
    answer = await ask(http, Prefer="wait=60")
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "wait=60"
    group = answer.json()
    assert group["counts"] == {"succeeded": 3}
    assert sorted(ids(group)) == ids(group)
    assert answer.headers["location"] == group["links"]["self"] == f"/v1/groups/{group['id']}"
    assert len({task["outputs"][0]["sha256"] for task in group["tasks"]}) == 3
    async with httpx.AsyncClient() as anyone:
        for task in group["tasks"]:
            (image,) = task["outputs"]
            assert hashlib.sha256((await anyone.get(image["url"])).content).hexdigest() == image["sha256"]

    alone = (await post(http, group=group["id"], metadata={"issue": "autumn"})).json()
    found = (await get(http, group["links"]["self"])).json()
    assert ids(found) == [*ids(group), alone["id"]]
    assert found["counts"]["succeeded"] >= 3
    one_shape(await get(http, group["links"]["self"], "slow"), 404, "not_found", "id")

    listed = (await get(http, "/v1/tasks?metadata.issue=spring&state=succeeded&limit=2")).json()
    assert ids(listed) == ids(group)[:0:-1]
    rest = (await get(http, listed["next"])).json()
    assert (ids(rest), "next" in rest) == (ids(group)[:1], False)
    assert ids((await get(http, "/v1/tasks?metadata.issue=spring", "slow")).json()) == []
    whole = (await get(http, f"/v1/tasks/{ids(group)[0]}?response_format=b64_json")).json()["outputs"][0]
    assert "url" not in whole
    assert hashlib.sha256(base64.b64decode(whole["b64_json"])).hexdigest() == whole["sha256"]
    await house.until_ended(4)
    await house.require_balance()

    # Another instance, or a file that was lost: it is all in the events.
    anew = house.settings.api.model_copy(update={"state_file": tmp_path / "anew.sqlite"})
    async with served(create_app(house.settings.model_copy(update={"api": anew}))) as other:
        await until_ready(other)
        assert ids((await get(other, group["links"]["self"])).json()) == ids(found)


async def test_each_prompt_is_decided_by_itself_and_once(http: httpx.AsyncClient) -> None:
    await the_same_batch_again_is_the_same_tasks(http, "Idempotency-Key")
    await the_same_batch_again_is_the_same_tasks(http, "Easel-Request-Id")
    await each_prompt_is_accepted_or_refused_by_itself(http)
    await what_can_be_no_batch_is_refused_whole(http)


async def the_same_batch_again_is_the_same_tasks(http: httpx.AsyncClient, name: str) -> None:
    key = new_id()
    first, again = [(await ask(http, **{name: key})).json() for _ in range(2)]
    assert (again["id"], ids(again)) == (first["id"], ids(first))
    assert {task["state"] for task in first["tasks"]} == {"accepted"}
    if name == "Easel-Request-Id":
        assert ids(first) == [nth_id(key, number) for number in range(3)]
    other = {
        "prompts": ["something else", *PROMPTS[1:]],
        "model": "nothing",
        "seed": 7,
        "metadata": {"issue": "spring"},
    }
    answer = await http.post("/v1/generate", json=other, headers={"X-API-Key": "acme", name: key})
    assert answer.status_code == 207
    states = [task["state"] for task in answer.json()["tasks"]]
    assert states == ["rejected", "accepted", "accepted"]
    conflict = Code.IDEMPOTENCY_CONFLICT if name == "Idempotency-Key" else Code.ID_CONFLICT
    assert answer.json()["tasks"][0]["error"]["code"] == conflict


async def what_can_be_no_batch_is_refused_whole(http: httpx.AsyncClient) -> None:
    """One prompt is no prompt: then none may have been taken, for the answer names no task."""
    body = {"prompts": [*PROMPTS, "a\0b"], "model": "nothing", "metadata": {"issue": "none"}}
    answer = await http.post("/v1/generate", json=body, headers={"X-API-Key": "acme"})
    one_shape(answer, 400, "invalid_request", "prompt")
    # Decided after all that came before it.
    assert (await post(http)).status_code == 202
    assert ids((await get(http, "/v1/tasks?metadata.issue=none")).json()) == []


async def each_prompt_is_accepted_or_refused_by_itself(http: httpx.AsyncClient) -> None:
    mixed = await ask(http, "slow")
    assert mixed.status_code == 207
    assert mixed.json()["counts"] == {"accepted": 1, "rejected": 2}
    for task in mixed.json()["tasks"]:
        assert (task["state"] == "rejected") == (task.get("error", {}).get("code") == Code.RATE_LIMITED)
    kept = (await get(http, mixed.json()["links"]["self"], "slow")).json()
    assert kept["counts"] == {"accepted": 1}
    refused = await ask(http, "slow")
    one_shape(refused, 429, Code.RATE_LIMITED)
    assert refused.headers["ratelimit-policy"] == '"requests_per_minute";q=5;w=60'
    assert refused.headers["ratelimit"] == f'"requests_per_minute";r=0;t={refused.headers["retry-after"]}'
    one_shape(await ask(http, "barred"), 403, Code.TENANT_SUSPENDED)

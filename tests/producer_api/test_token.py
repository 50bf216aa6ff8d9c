"""``POST /token`` over HTTP, with a real store and without Kafka: signing in needs none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from producer_api.app import create_app
from producer_api.login.passwords import hashed
from schemas.connection import StoreSettings
from schemas.settings import Settings
from schemas.yaml_file import ConfigError
from tests.producer_api.support import install, served
from tests.producer_api.test_app import AWAY, TASK

PASSWORD = "correct horse"
HASH = hashed(PASSWORD)


@dataclass
class Door:
    """The API, and its users file."""

    http: httpx.AsyncClient
    users: Path

    def write(self, **users: dict[str, Any]) -> None:
        entries = [{"user": name, "tenant": "acme", "password": HASH, **more} for name, more in users.items()]
        self.users.write_text(json.dumps({"users": entries}))

    async def sign_in(self, name: str = "anna", password: str = PASSWORD) -> httpx.Response:
        return await self.http.post("/token", data={"username": name, "password": password})

    async def tokens(self, name: str = "anna") -> dict[str, Any]:
        answer = await self.sign_in(name)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until_out(self, token: str) -> None:
        async with asyncio.timeout(10):
            while (await self.http.get(TASK, headers=bearer(token))).status_code != 401:  # noqa: ASYNC110 - a server's
                await asyncio.sleep(0.05)


def with_users(settings: Settings, folder: Path) -> Settings:
    api = settings.api.model_copy(
        update={"users_file": folder / "users.yaml", "token_secret": SecretStr("0123456789" * 4)}
    )
    return settings.model_copy(update={"api": api})


@pytest.fixture
async def door(store: StoreSettings, tmp_path: Path) -> AsyncIterator[Door]:
    door = Door(httpx.AsyncClient(), tmp_path / "users.yaml")
    door.write(anna={}, berta={"requests_per_minute": 2}, clara={"tenant": "gone"})
    settings = with_users(install(Settings(kafka=AWAY, store=store), tmp_path).settings, tmp_path)
    async with served(create_app(settings)) as http:
        door.http = http
        yield door


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def flat(answer: httpx.Response, status: int, code: str) -> None:
    """An error with its code and message at the top, as well as in the one shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "code", "message"}
    assert (body["code"], body["message"]) == (body["error"]["code"], body["error"]["message"])
    assert body["code"] == code


async def test_a_token_opens_every_route_in_either_header(door: Door) -> None:
    signed_in = await door.sign_in()
    assert signed_in.headers["cache-control"] == "no-store"
    tokens = signed_in.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 86_400)
    token = tokens["access_token"]
    for headers in (bearer(token), {"X-API-KEY": token}):
        # Past the door: Kafka is away.
        assert (await door.http.get(TASK, headers=headers)).status_code == 503
    for wrong in (token[:-2] + "xx", tokens["refresh_token"]):
        assert (await door.http.get(TASK, headers=bearer(wrong))).status_code == 401


async def test_the_same_as_json_and_with_the_grant_named(door: Door) -> None:
    as_json = {"username": "anna", "password": PASSWORD}
    assert (await door.http.post("/token", json=as_json)).status_code == 200
    assert (await door.http.post("/token", data={**as_json, "grant_type": "password"})).status_code == 200


async def test_what_does_not_fit_is_one_answer_whoever_is_named(door: Door) -> None:
    wrong, unknown = await door.sign_in(password="wrong"), await door.sign_in("nobody")
    flat(wrong, 401, "login_invalid")
    assert wrong.json() == unknown.json()
    assert wrong.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"username=anna", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"username=anna&password=x&grant_type=implicit", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=b" for _ in range(40)), "application/x-www-form-urlencoded", 400),
        (b"[" * 9000, "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"username": 1, "password": []}', "application/json", 400),
        (b"x" * 17_000, "application/json", 413),
        (b"x", "text/plain", 415),
    ],
)
async def test_a_wrong_form_is_refused(door: Door, content: bytes, kind: str, status: int) -> None:
    answer = await door.http.post("/token", content=content, headers={"Content-Type": kind})
    flat(answer, status, "record_too_large" if status == 413 else "invalid_request")


async def test_a_name_that_is_tried_too_often_has_to_wait_and_others_do_not(door: Door) -> None:
    # The pauses double: however long a try takes here, one of these comes too early.
    answers = [await door.sign_in(password="wrong")]
    while answers[-1].status_code == 401 and len(answers) < 15:
        answers.append(await door.sign_in(password="wrong"))
    assert len(answers) > 5
    flat(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    # The right password has to wait as well.
    flat(await door.sign_in(), 429, "rate_limited")
    await door.tokens("berta")


async def test_a_refresh_token_is_good_once(door: Door) -> None:
    first = await door.tokens()
    second = await door.http.post("/token/refresh", json={"refresh_token": first["refresh_token"]})
    assert second.status_code == 200, second.text
    assert (await door.http.get(TASK, headers=bearer(second.json()["access_token"]))).status_code == 503
    third = await door.http.post(
        "/token", data={"grant_type": "refresh_token", "refresh_token": second.json()["refresh_token"]}
    )
    assert third.status_code == 200
    # Whoever sends a spent one may be a thief, or the one who was robbed: neither goes on.
    again = await door.http.post("/token/refresh", json={"refresh_token": first["refresh_token"]})
    flat(again, 401, "login_invalid")
    stopped = await door.http.post("/token/refresh", json={"refresh_token": third.json()["refresh_token"]})
    flat(stopped, 401, "login_invalid")
    for wrong in ("x", first["access_token"]):
        flat(await door.http.post("/token/refresh", json={"refresh_token": wrong}), 401, "login_invalid")


async def test_of_two_who_refresh_at_the_same_moment_neither_goes_on(door: Door) -> None:
    for _ in range(5):
        tokens = await door.tokens()
        asked = [door.http.post("/token/refresh", json={"refresh_token": tokens["refresh_token"]}) for _ in range(8)]
        answers = await asyncio.gather(*asked)
        got = [answer.json()["refresh_token"] for answer in answers if answer.status_code == 200]
        assert len(got) <= 1
        for token in got:
            stopped = await door.http.post("/token/refresh", json={"refresh_token": token})
            flat(stopped, 401, "login_invalid")


async def test_signing_out_at_the_same_moment_is_not_undone(door: Door) -> None:
    for _ in range(5):
        token = (await door.tokens())["refresh_token"]
        refreshed, out = await asyncio.gather(
            door.http.post("/token/refresh", json={"refresh_token": token}),
            door.http.post("/token/revoke", data={"token": token}),
        )
        assert out.status_code == 204
        if refreshed.status_code == 200:
            later = await door.http.post("/token/refresh", json={"refresh_token": refreshed.json()["refresh_token"]})
            flat(later, 401, "login_invalid")


async def test_signing_out_ends_the_refresh_token(door: Door) -> None:
    tokens = await door.tokens()
    for _ in range(2):
        assert (await door.http.post("/token/revoke", data={"token": tokens["refresh_token"]})).status_code == 204
    flat(await door.http.post("/token/refresh", json={"refresh_token": tokens["refresh_token"]}), 401, "login_invalid")
    assert (await door.http.post("/token/revoke", data={"token": "x"})).status_code == 204


async def test_who_is_gone_or_has_another_password_is_out_within_a_second(door: Door) -> None:
    anna, berta = await door.tokens(), await door.tokens("berta")
    door.write(anna={"password": hashed("another")})
    await door.until_out(anna["access_token"])
    await door.until_out(berta["access_token"])
    flat(await door.http.post("/token/refresh", json={"refresh_token": anna["refresh_token"]}), 401, "login_invalid")
    # A file that can't be used takes nobody's token away.
    now = (await door.http.post("/token", data={"username": "anna", "password": "another"})).json()["access_token"]
    door.users.write_text("users: nonsense")
    await asyncio.sleep(1.5)
    assert (await door.http.get(TASK, headers=bearer(now))).status_code == 503


async def test_a_user_has_a_rate_of_its_own(door: Door) -> None:
    anna, berta = bearer((await door.tokens())["access_token"]), bearer((await door.tokens("berta"))["access_token"])
    ask = {"prompt": "a red circle", "model": "nothing"}
    async with asyncio.timeout(20):
        statuses = [(await door.http.post("/v1/generate", json=ask, headers=berta)).status_code for _ in range(3)]
    assert statuses == [503, 503, 429]
    late = await door.http.post("/v1/generate", json=ask, headers=berta)
    assert late.json()["error"]["message"] == "more than 2 requests a minute by the user 'berta'"
    assert 25 <= int(late.headers["retry-after"]) <= 30
    # Looking is free, and anna is another.
    assert (await door.http.get(TASK, headers=berta)).status_code == 503
    assert (await door.http.post("/v1/generate", json=ask, headers=anna)).status_code == 503


async def test_a_user_of_a_tenant_that_there_is_not_gets_nowhere(door: Door) -> None:
    token = (await door.tokens("clara"))["access_token"]
    assert (await door.http.get(TASK, headers=bearer(token))).status_code == 401


async def test_where_nobody_signs_in_it_says_so(tmp_path: Path) -> None:
    settings = install(Settings(kafka=AWAY, store=StoreSettings(endpoint="127.0.0.1:1")), tmp_path).settings
    async with served(create_app(settings)) as http:
        for path in ("/token", "/token/refresh", "/token/revoke"):
            answer = await http.post(path, data={"username": "a", "password": "b"})
            flat(answer, 404, "not_found")
            assert "EASEL_API_USERS_FILE" in answer.json()["message"]


async def test_settings_that_cannot_work_are_told_at_the_start(tmp_path: Path) -> None:
    settings = install(Settings(kafka=AWAY, store=StoreSettings(endpoint="127.0.0.1:1")), tmp_path).settings
    for update in (
        {"users_file": tmp_path / "users.yaml"},
        {"token_secret": SecretStr("0" * 40)},
        {"users_file": tmp_path / "users.yaml", "token_secret": SecretStr("short")},
        {"users_file": tmp_path / "missing.yaml", "token_secret": SecretStr("0" * 40)},
    ):
        with pytest.raises(ConfigError):
            create_app(settings.model_copy(update={"api": settings.api.model_copy(update=update)}))

"""Signing in: the pure parts, by a clock of the test's own."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import jwt
import pytest
from pydantic import SecretStr

from producer_api.login.logins import Logins
from producer_api.login.passwords import BusyError, Passwords, hashed
from producer_api.login.throttle import Attempts, Rates
from producer_api.login.tokens import ACCESS_S, Tokens
from schemas.connection import StoreSettings
from schemas.settings import ApiSettings, Settings
from schemas.users import User, load_users
from schemas.yaml_file import ConfigError
from transport.objects import ObjectStore

SECRET = b"0123456789abcdef0123456789abcdef"
TOKENS = Tokens(SECRET, issuer="easel-api", audience="easel")


class TestTokens:
    def test_each_is_good_for_its_own_use_alone(self) -> None:
        now = time.time()
        access, refresh = TOKENS.access("anna", "f1", now_s=now), TOKENS.refresh("anna", "f1", now_s=now)
        read = TOKENS.read(access, "access")
        assert read is not None
        assert (read.user, read.fingerprint) == ("anna", "f1")
        assert TOKENS.read(refresh, "access") is None
        assert TOKENS.read(access, "refresh") is None
        family = TOKENS.read(refresh, "refresh")
        assert family is not None
        assert family.number == 0 and family.family

    def test_it_ends_after_a_day(self) -> None:
        claims = jwt.decode(TOKENS.access("anna", "f1", now_s=time.time()), SECRET, ["HS256"], audience="easel")
        assert claims["exp"] - claims["iat"] == ACCESS_S == 24 * 3600
        assert TOKENS.read(TOKENS.access("anna", "f1", now_s=time.time() - ACCESS_S - 1), "access") is None

    @pytest.mark.parametrize(
        ("other", "algorithm"),
        [
            (Tokens(b"x" * 32, issuer="easel-api", audience="easel"), "HS256"),
            (Tokens(SECRET, issuer="easel-api", audience="another"), "HS256"),
            (Tokens(SECRET, issuer="another", audience="easel"), "HS256"),
        ],
    )
    def test_those_of_others_are_not_taken(self, other: Tokens, algorithm: str) -> None:
        assert TOKENS.read(other.access("anna", "f1", now_s=time.time()), "access") is None

    @pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
    def test_no_other_algorithm_is_taken(self, algorithm: str) -> None:
        now = int(time.time())
        claims = {"iss": "easel-api", "aud": "easel", "sub": "anna", "pwd": "f1", "iat": now, "exp": now + 60}
        key = "" if algorithm == "none" else SECRET.decode() * 2
        forged = jwt.encode(claims, key, algorithm=algorithm, headers={"typ": "at+jwt"})
        assert TOKENS.read(forged, "access") is None

    @pytest.mark.parametrize("missing", ["iss", "aud", "sub", "iat", "exp", "pwd"])
    def test_each_claim_is_needed(self, missing: str) -> None:
        now = int(time.time())
        claims = {"iss": "easel-api", "aud": "easel", "sub": "anna", "pwd": "f1", "iat": now, "exp": now + 60}
        del claims[missing]
        assert TOKENS.read(jwt.encode(claims, SECRET, "HS256", headers={"typ": "at+jwt"}), "access") is None

    @pytest.mark.parametrize("token", ["", "a", "a.b.c", "é.b.c", "eyJ0eXAiOiJhdCtqd3QifQ.e30.", "." * 40])
    def test_what_is_no_token_is_none(self, token: str) -> None:
        assert TOKENS.read(token, "access") is None


class TestAttempts:
    def test_five_are_free_then_each_waits_longer(self) -> None:
        attempts, now = Attempts(), 100.0
        assert [attempts.begin("anna", now) for _ in range(5)] == [0] * 5
        waits = []
        for _ in range(12):
            waits.append(attempts.begin("anna", now))
            now += waits[-1]
            assert attempts.begin("anna", now) == 0
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
        assert attempts.begin("berta", now) == 0

    def test_one_that_has_to_wait_is_not_counted(self) -> None:
        attempts = Attempts()
        for _ in range(5):
            attempts.begin("anna", 0.0)
        assert [attempts.begin("anna", 0.5) for _ in range(20)] == [0.5] * 20

    def test_success_and_time_forgive(self) -> None:
        attempts = Attempts()
        for _ in range(5):
            attempts.begin("anna", 0.0)
        attempts.succeeded("anna")
        assert [attempts.begin("anna", 0.0) for _ in range(5)] == [0] * 5
        assert attempts.begin("anna", 0.0) == 1
        assert [attempts.begin("anna", 901.0) for _ in range(5)] == [0] * 5

    def test_it_remembers_a_bounded_number_of_names(self) -> None:
        attempts = Attempts()
        for number in range(10_050):
            attempts.begin(f"user{number}", 0.0)
        assert len(attempts._tried) == 10_000


def test_a_users_bucket_holds_a_minute() -> None:
    rates = Rates()
    assert [rates.take("anna", 6, 0.0) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    assert rates.take("anna", 6, 9.0) == pytest.approx(1.0)
    assert rates.take("anna", 6, 10.0) == 0
    assert rates.take("berta", 6, 0.0) == 0


async def test_a_name_that_nobody_has_costs_as_much_as_one_that_somebody_has() -> None:
    """By the processor's time that the checks take: without the work, it would be a thousandth."""
    passwords = Passwords()
    hash_ = hashed("right")
    assert await passwords.fits("right", hash_)
    assert not await passwords.fits("wrong", hash_)
    assert not await passwords.fits("right", None)

    async def cost(given: str | None) -> float:
        began = time.process_time()
        await passwords.fits("wrong", given)
        return time.process_time() - began

    # The least of five: a collection of the whole heap in one of them is not the check's.
    nobody, somebody = [min([await cost(given) for _ in range(5)]) for given in (None, hash_)]
    assert 0.5 < nobody / somebody < 2
    passwords.stop()


async def test_a_flood_of_names_holds_nobody_back_and_forgets_nobody(tmp_path: Path) -> None:
    (tmp_path / "users.yaml").write_text(f"users: [{{user: anna, tenant: acme, password: '{hashed('right')}'}}]")
    api = ApiSettings(users_file=tmp_path / "users.yaml", token_secret=SecretStr(SECRET.decode()))
    logins = Logins.build(Settings(api=api), ObjectStore(StoreSettings(endpoint="127.0.0.1:1")))
    assert logins is not None
    tries = [asyncio.create_task(logins.sign_in(f"{number}" + "x" * 10_000, "wrong")) for number in range(200)]
    busy = sum(isinstance(one, BusyError) for one in await asyncio.gather(*tries, return_exceptions=True))
    assert busy >= 100
    counted = logins._attempts._tried
    assert len(counted) == 200 - busy
    assert max(len(name) for name in counted) == 100
    assert await logins.sign_in("anna", "right") is not None
    assert "anna" not in counted
    await logins.stop()


class TestTheFile:
    def test_it_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "users.yaml"
        path.write_text(f"users:\n  - {{user: anna@example.org, tenant: acme, password: '{hashed('x')}'}}\n")
        assert load_users(path)["anna@example.org"].tenant == "acme"

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ("{user: anna, tenant: acme, password: secret}", "users.0.password: String should match"),
            ("{user: 'an na', tenant: acme, password: 'HASH'}", "users.0.user: String should match"),
            ("{user: anna, tenant: acme, password: 'HASH', admin: true}", "users.0.admin: Extra inputs"),
            ("{user: anna, tenant: acme, password: 'HASH'}\n  - {user: anna, tenant: b, password: 'HASH'}", "twice"),
        ],
    )
    def test_what_is_wrong_is_told_by_line_and_without_the_hash(self, tmp_path: Path, entry: str, said: str) -> None:
        path = tmp_path / "users.yaml"
        hash_ = hashed("x")
        path.write_text("users:\n  - " + entry.replace("HASH", hash_) + "\n")
        with pytest.raises(ConfigError, match=r"users\.yaml:") as refused:
            load_users(path)
        assert said in str(refused.value)
        assert hash_ not in str(refused.value)

    def test_a_user_does_not_show_the_hash(self) -> None:
        hash_ = hashed("x")
        assert hash_ not in repr(User(user="anna", tenant="acme", password=hash_))

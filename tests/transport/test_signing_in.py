"""Each way to sign in, on a real broker that takes nobody whom it does not know."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from pathlib import Path

import aiokafka.errors as kafka
import pytest
from pydantic import SecretStr, ValidationError

from ops.local.authority import Authority
from schemas.access import grants
from schemas.connection import KafkaSettings
from schemas.topics import Topics, TopicSpec
from tests.secure_stack import SecureStack, Site
from tests.token_issuer import TokenIssuer
from transport.access import allow
from transport.errors import Misconfigured, TransportError, Unavailable
from transport.kafka import Publisher, client_options
from transport.records import Ack, Outgoing
from transport.tokens import token_provider
from transport.topics import ensure_topics


@pytest.fixture(scope="module")
def site(secure_stack: SecureStack) -> Site:
    site = asyncio.run(secure_stack.site())
    asyncio.run(ensure_topics(site.kafka("operator"), [TopicSpec(f"{site.prefix}.requests", 1, {})]))
    return site


async def publish(settings: KafkaSettings, site: Site) -> Ack:
    async with Publisher(settings, client_id="test") as publisher:
        return await publisher.publish(Outgoing(f"{site.prefix}.requests", b"{}"))


def by_tokens(site: Site, issuer: TokenIssuer, client: str, secret: str) -> KafkaSettings:
    base = site.kafka("admission").model_dump(exclude={"username", "password"})
    tokens = {"token_endpoint": issuer.endpoint, "client_id": client, "client_secret": SecretStr(secret)}
    return KafkaSettings.model_validate({**base, "sasl_mechanism": "OAUTHBEARER", **tokens})


async def test_by_a_password(site: Site) -> None:
    assert (await publish(site.kafka("tenant.acme"), site)).partition == 0


async def test_a_wrong_password_is_refused(site: Site) -> None:
    with pytest.raises(Unavailable, match="does it know this user, password and protocol") as refused:
        await publish(site.kafka("tenant.acme", password="another-of-this-test"), site)
    assert "another-of-this-test" not in str(refused.value)


async def test_by_a_certificate_whose_name_is_the_user(site: Site, tmp_path: Path) -> None:
    identity = Authority(site.directory / "tls").issue("cert-publisher")
    settings = site.admin.model_copy(
        update={"prefix": site.prefix, "cert_file": identity.cert_file, "key_file": identity.key_file}
    )
    with pytest.raises(Misconfigured):
        await publish(settings, site)
    await allow(site.admin, {"cert-publisher": grants("publisher", Topics(site.prefix))})
    assert (await publish(settings, site)).partition == 0
    stranger = Authority(tmp_path / "strangers").issue("easel-admin")
    forged = settings.model_copy(update={"cert_file": stranger.cert_file, "key_file": stranger.key_file})
    with pytest.raises(TransportError):
        await publish(forged, site)
    gc.collect()  # What is left behind is reported here, not in another test.


async def test_a_broker_of_another_authority_is_not_believed(site: Site, tmp_path: Path) -> None:
    others = Authority(tmp_path / "others").cert_file
    with pytest.raises(TransportError):
        await publish(site.kafka("tenant.acme").model_copy(update={"ca_file": others}), site)


async def test_nothing_is_said_in_the_clear(site: Site) -> None:
    with pytest.raises(TransportError):
        await publish(KafkaSettings(bootstrap_servers=site.endpoints.kafka, prefix=site.prefix), site)


class TestTokens:
    @pytest.fixture
    def issuer(self, secure_stack: SecureStack) -> TokenIssuer:
        secure_stack.issuer.clients["token-publisher"] = "a secret: with/odd+signs"
        secure_stack.issuer.life_s = 300.0
        return secure_stack.issuer

    @pytest.fixture
    async def settings(self, site: Site, issuer: TokenIssuer) -> KafkaSettings:
        await allow(site.admin, {"token-publisher": grants("publisher", Topics(site.prefix))})
        return by_tokens(site, issuer, "token-publisher", issuer.clients["token-publisher"])

    async def test_from_an_endpoint(self, site: Site, issuer: TokenIssuer, settings: KafkaSettings) -> None:
        given = issuer.given
        for _ in range(2):
            assert (await publish(settings, site)).partition == 0
        assert issuer.given == given + 1, "clients with the same settings share a token"

    async def test_they_are_replaced_before_they_expire(
        self, site: Site, issuer: TokenIssuer, settings: KafkaSettings
    ) -> None:
        """The broker ends a connection whose token is over; records go through all the same, each once."""
        issuer.life_s = 1.5
        given, offsets = issuer.given, []
        async with Publisher(settings.model_copy(update={"scope": "short"}), client_id="test") as publisher:
            ends = time.monotonic() + 6
            while time.monotonic() < ends:
                ack = await publisher.publish(Outgoing(f"{site.prefix}.requests", b"{}"), timeout_s=10)
                offsets.append(ack.offset)
                await asyncio.sleep(0.1)
        assert issuer.given - given >= 3
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))

    async def test_an_issuer_that_is_away_is_survived_while_a_token_lives(
        self, issuer: TokenIssuer, settings: KafkaSettings
    ) -> None:
        issuer.life_s = 2.0
        provider = token_provider(settings.model_copy(update={"scope": "away"}))
        first = await provider.token()
        issuer.down = True
        try:
            await asyncio.sleep(1.7)
            assert await provider.token() == first
            await asyncio.sleep(0.5)
            with pytest.raises(kafka.KafkaConnectionError, match="HTTP 503 \\(temporarily_unavailable\\)"):
                await provider.token()
        finally:
            issuer.down = False
        assert await provider.token() != first

    async def test_a_wrong_secret_is_named_and_not_told(
        self, site: Site, issuer: TokenIssuer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Unavailable):
            await publish(by_tokens(site, issuer, "token-publisher", "wrong-secret-of-this-test"), site)
        assert "HTTP 401 (invalid_client): check client_id, client_secret" in caplog.text
        assert "wrong-secret-of-this-test" not in caplog.text

    async def test_from_a_file_that_is_replaced(
        self, site: Site, issuer: TokenIssuer, settings: KafkaSettings, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        base = settings.model_dump(exclude={"token_endpoint", "client_id", "client_secret"})
        by_file = KafkaSettings.model_validate({**base, "token_file": file})
        with pytest.raises(TransportError):
            await publish(by_file, site)
        file.write_text(issuer.token("token-publisher") + "\n")
        assert (await publish(by_file, site)).partition == 0
        file.write_text(issuer.token("somebody-else"))
        with pytest.raises(Misconfigured):
            await publish(by_file, site)

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({}, "needs token_file"),
            ({"token_endpoint": "https://issuer/token", "client_id": "a"}, "needs token_file"),
            (
                {"token_endpoint": "http://issuer/token", "client_id": "a", "client_secret": "hush-of-this-test"},
                "must begin with https://",
            ),
        ],
    )
    def test_what_is_missing_is_named(self, given: dict[str, str], why: str) -> None:
        with pytest.raises(ValidationError, match=why) as refused:
            KafkaSettings.model_validate({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", **given})
        assert "hush-of-this-test" not in str(refused.value)


def test_the_clients_verify_who_answers(tmp_path: Path) -> None:
    settings = KafkaSettings(security_protocol="SSL", ca_file=Authority(tmp_path).cert_file)
    context = client_options(settings)["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

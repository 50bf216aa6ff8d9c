"""The audit of a request over HTTP names the API key, by its id, under the issuer's signature."""

from __future__ import annotations

from typing import Any

import httpx
import jwt
import pytest

from ops.audit.entries import read_entries
from schemas.signing import KeyEntry, Signer, verify
from tests.house import House
from tests.producer_api.conftest import post

SECRET = b"0123456789" * 4
ABOUT: dict[str, Any] = {"event_type": "t", "event_id": "i", "body": b"{}"}


async def test_the_audit_says_which_key_asked(http: httpx.AsyncClient, house: House) -> None:
    task = (await post(http, "acme")).json()
    refused = await post(http, "barred")
    assert refused.status_code == 403
    entries = [entry async for entry in read_entries(house.settings.kafka, None)]
    said = {(entry.tenant, entry.decision): entry for entry in entries}
    accepted = said["acme", "accepted"]
    assert (accepted.request_id, accepted.issuer, accepted.kid) == (task["id"], "easel-api", "easel-api-1")
    assert accepted.caller == "acme"
    assert said["barred", "rejected"].caller == "barred"


@pytest.mark.parametrize("act", [None, "acme", {}, {"sub": 7}, {"sub": ""}, {"sub": "a\nb"}, {"sub": "x" * 129}, [1]])
def test_a_claim_that_names_nobody_is_no_reason_to_refuse(act: Any) -> None:
    signer = Signer("k", "HS256", SECRET, "shop", "easel")
    claims = jwt.decode(signer.sign(tenant="acme", now_s=1_000, **ABOUT), options={"verify_signature": False})
    token = jwt.encode({**claims, "act": act}, SECRET, "HS256", headers={"typ": "easel-request+jwt", "kid": "k"})
    keys = {"k": KeyEntry("k", "HS256", "shop", None, SECRET)}
    found = verify(token, keys=keys, audience="easel", appended_ms=1_000_000, **ABOUT)
    assert (found.tenant, found.caller) == ("acme", None)
    named = signer.sign(tenant="acme", now_s=1_000, caller="user:alice", **ABOUT)
    assert verify(named, keys=keys, audience="easel", appended_ms=1_000_000, **ABOUT).caller == "user:alice"

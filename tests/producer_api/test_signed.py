"""The record that a publisher sends is one that the contract's own check takes, and no damaged form of it is."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from producer_api import build_request
from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.ids import new_id
from schemas.requests import GenerationRequest, read_request
from schemas.signing import KeyEntry, Signer, Verified, verify
from schemas.topics import Topics
from tests.producer_api.support import SECRET, SIGNER, TENANT
from transport.records import Outgoing

KEYS = {"acme-1": KeyEntry("acme-1", "HS256", TENANT, frozenset({TENANT}), SECRET.encode())}
REQUEST = GenerationRequest(prompt="a small red circle on a white background", model="easel-tiny", images=2, seed=7)


def signed(request: GenerationRequest = REQUEST, *, id_: str | None = None, signer: Signer = SIGNER) -> Outgoing:
    return build_request(request, tenant=TENANT, signer=signer, topics=Topics("easel"), request_id=id_)


def check(envelope: Envelope, *, appended_ms: int | None = None) -> Verified:
    return verify(
        envelope.signature,
        keys=KEYS,
        audience="easel",
        event_type=envelope.type,
        event_id=envelope.id,
        body=envelope.data,
        appended_ms=int(time.time() * 1000) if appended_ms is None else appended_ms,
    )


def test_it_verifies_as_its_tenant() -> None:
    record = signed()
    envelope = Envelope.read(record.headers, record.value)
    assert check(envelope) == Verified(TENANT, TENANT, "acme-1")
    assert envelope.type == GenerationRequest.TYPE
    assert envelope.subject == envelope.id
    assert record.topic == "easel.requests"
    assert record.key == TENANT.encode()
    assert read_request(envelope.data) == REQUEST


@pytest.mark.parametrize(
    "damage",
    [
        lambda event: changed(event, data=event.data.replace(b"red", b"bad")),
        lambda event: changed(event, data=event.data + b" "),
        lambda event: changed(event, id=new_id()),
        lambda event: changed(event, type="easel.generation.cancel_requested.v1"),
        lambda event: changed(event, signature=event.signature[:-2] + "AA"),
        lambda event: changed(event, signature=None),
    ],
)
def test_no_damaged_form_verifies(damage: object) -> None:
    record = signed()
    assert callable(damage)
    with pytest.raises(EaselError):
        check(damage(Envelope.read(record.headers, record.value)))


@pytest.mark.parametrize(
    "signer",
    [
        replace(SIGNER, key=b"another secret of 32 bytes or more"),
        replace(SIGNER, kid="acme-2"),
        replace(SIGNER, issuer="globex"),
        replace(SIGNER, audience="another-installation"),
        replace(SIGNER, algorithm="HS256", lifetime_s=48 * 3600),
    ],
)
def test_no_other_signer_is_believed(signer: Signer) -> None:
    record = signed(signer=signer)
    with pytest.raises(EaselError):
        check(Envelope.read(record.headers, record.value))


def test_its_time_runs_from_the_signing() -> None:
    record = signed()
    envelope = Envelope.read(record.headers, record.value)
    with pytest.raises(EaselError, match="expired"):
        check(envelope, appended_ms=int((time.time() + SIGNER.lifetime_s + 1) * 1000))


def test_the_same_request_has_the_same_body_however_it_is_spelled() -> None:
    spelled_out = GenerationRequest(
        prompt="a small red circle on a white background",
        model="easel-tiny",
        images=2,
        seed=7,
        format="png",
        quality=95,
    )
    assert signed(spelled_out).value == signed().value


def test_ids_are_new_unless_given() -> None:
    ids = {Envelope.read(record.headers, record.value).id for record in (signed(), signed())}
    assert len(ids) == 2
    id_ = new_id()
    record = signed(id_=id_)
    assert Envelope.read(record.headers, record.value).id == id_

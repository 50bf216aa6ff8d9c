"""The published test vectors: our verifier takes them at their time, and so does a JWT library that is none of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from schemas.envelope import Envelope
from schemas.errors import EaselError
from schemas.ids import require_request_id
from schemas.requests import read_request
from schemas.signing import ALGORITHMS, IDEMPOTENCY_KEY, KeyEntry, Verified, verify
from schemas.tenant_keys import Key as KeyText
from schemas.tenant_keys import material_of
from tests.docs.pages import ROOT, first_cells
from tests.schemas.files import write

# The name is older than RFC 9864, which gives one to each curve; JWT libraries know this one.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

FILES = sorted((ROOT / "docs/vectors").glob("*.json"))
VECTORS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FILES}
KINDS: dict[str, type[Key]] = {"EdDSA": OKPKey, "ES256": ECKey, "RS256": RSAKey}
SAME_EACH_TIME = [name for name, vector in VECTORS.items() if vector["algorithm"] != "ES256"]


@pytest.fixture(params=VECTORS)
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    return VECTORS[request.param]


def key_of(vector: dict[str, Any], *, private: bool = False) -> Key:
    """As the other library takes it."""
    if "test_secret" in vector:
        return OctKey.import_key(vector["test_secret"])
    return KINDS[vector["algorithm"]].import_key(vector["test_private_key" if private else "public_key"])


def verified(vector: dict[str, Any], folder: Path, **changes: Any) -> Verified:
    """By our verifier, with the key as tenants.yaml would give it."""
    write(folder, "version: 1\ntenants:\n  - id: acme\n")
    kid = json.loads(vector["token_header"])["kid"]
    material = (
        vector["test_secret"].encode()
        if "test_secret" in vector
        else material_of(
            KeyText(kid=kid, alg=vector["algorithm"], public_key=vector["public_key"]), folder / "tenants.yaml", ()
        )
    )
    record = {**vector["record"], **changes}
    headers = [(name, value.encode()) for name, value in record["headers"].items()]
    event = Envelope.read(headers, record["value"].encode())
    return verify(
        event.signature,
        keys={kid: KeyEntry(kid, vector["algorithm"], "acme", frozenset({"acme"}), material)},
        audience=vector["installation"],
        event_type=event.type,
        event_id=event.id,
        body=event.data,
        appended_ms=vector["received_ms"],
        idempotency_key=event.extensions.get(IDEMPOTENCY_KEY),
    )


def test_there_is_one_for_each_algorithm() -> None:
    assert {vector["algorithm"] for vector in VECTORS.values()} == set(ALGORITHMS)


def test_admission_takes_it(vector: dict[str, Any], tmp_path: Path) -> None:
    assert verified(vector, tmp_path).tenant == vector["tenant"] == vector["record"]["key"]
    assert read_request(vector["record"]["value"].encode()).prompt
    require_request_id(vector["record"]["headers"]["ce_id"], at_ms=vector["received_ms"])


def test_and_not_with_another_body_or_key(vector: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EaselError, match="body_sha256"):
        verified(vector, tmp_path, value=vector["record"]["value"] + " ")
    headers = {**vector["record"]["headers"], "ce_idempotencykey": "order-8"}
    with pytest.raises(EaselError, match="idempotencykey"):
        verified(vector, tmp_path, headers=headers)


def test_another_library_takes_it(vector: dict[str, Any]) -> None:
    token = jwt.decode(vector["token"], key_of(vector), algorithms=[vector["algorithm"]])
    assert token.header == json.loads(vector["token_header"])
    assert token.claims == json.loads(vector["token_claims"])
    assert vector["record"]["headers"]["ce_signature"] == vector["token"]


def test_what_another_library_signs_is_taken(vector: dict[str, Any], tmp_path: Path) -> None:
    made = jwt.encode(
        json.loads(vector["token_header"]),
        json.loads(vector["token_claims"]),
        key_of(vector, private=True),
        algorithms=[vector["algorithm"]],
    )
    headers = {**vector["record"]["headers"], "ce_signature": made}
    assert verified(vector, tmp_path, headers=headers).tenant == vector["tenant"]


@pytest.mark.parametrize("name", SAME_EACH_TIME)
def test_the_same_text_makes_the_same_token(name: str) -> None:
    vector = VECTORS[name]
    header, claims = json.loads(vector["token_header"]), vector["token_claims"].encode()
    made = jws.serialize_compact(header, claims, key_of(vector, private=True), algorithms=[vector["algorithm"]])
    assert made == vector["token"]


def test_its_key_is_said_to_be_public(vector: dict[str, Any]) -> None:
    assert "never use it for anything else" in vector["comment"]


def test_its_claims_are_those_that_the_page_lists() -> None:
    assert sorted(first_cells("docs/events.md", "claim")) == sorted(json.loads(VECTORS["eddsa"]["token_claims"]))

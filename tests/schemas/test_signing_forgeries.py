"""Each way to forge or damage a signed request, by name. None may verify, and each says why by its code."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Code, EaselError, ErrorType
from schemas.signing import ALGORITHMS, Algorithm
from tests.schemas.signed import (
    BODY,
    KID,
    NOW_S,
    Case,
    case,
    claims,
    code_of,
    entry,
    private_key,
    segment,
    token,
)


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class TestBody:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_every_single_bit_counts(self, algorithm: Algorithm) -> None:
        body = BODY[:24]
        if algorithm == "RS256":
            body = BODY[:8]
        right = case(algorithm)
        for bit in range(len(body) * 8):
            damaged = Case(token=right.token, keys=right.keys, body=flipped(body, bit) + BODY[len(body) :])
            assert code_of(damaged) is Code.BODY_MISMATCH

    @given(st.binary(max_size=200).filter(lambda body: body != BODY))
    def test_no_other_body_passes(self, body: bytes) -> None:
        assert code_of(Case(body=body)) is Code.BODY_MISMATCH

    @pytest.mark.parametrize("body", [BODY + b" ", b" " + BODY, BODY[:-1], b"", BODY + b"\0"])
    def test_nor_one_that_means_the_same(self, body: bytes) -> None:
        assert code_of(Case(body=body)) is Code.BODY_MISMATCH


class TestToken:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_every_bit_of_header_claims_and_signature_counts(self, algorithm: Algorithm) -> None:
        right = case(algorithm)
        assert right.token is not None
        step = 1 if algorithm in ("HS256", "EdDSA") else 5
        for bit in range(0, len(right.token) * 8, step):
            text = flipped(right.token.encode(), bit).decode("latin-1")
            with pytest.raises(EaselError) as caught:
                Case(token=text, keys=right.keys).verify()
            assert caught.value.type is ErrorType.AUTHENTICATION

    @given(st.text(max_size=300))
    def test_no_text_makes_it_stumble(self, text: str) -> None:
        expected = Code.SIGNATURE_MALFORMED if text else Code.SIGNATURE_MISSING
        assert code_of(Case(token=text)) is expected

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=12,
        )
    )
    def test_no_header_makes_it_stumble(self, header: Any) -> None:
        head = {"typ": "easel-request+jwt", "alg": "EdDSA", "kid": KID}
        crafted = segment({**head, "x": header} if header else header) + b"." + segment(claims()) + b".AAAA"
        with pytest.raises(EaselError) as caught:
            Case(token=crafted.decode()).verify()
        assert caught.value.type is ErrorType.AUTHENTICATION

    def test_absent(self) -> None:
        assert code_of(Case(token=None)) is Code.SIGNATURE_MISSING

    def test_empty(self) -> None:
        assert code_of(Case(token="")) is Code.SIGNATURE_MISSING

    @pytest.mark.parametrize("parts", [1, 2, 4, 5])
    def test_another_number_of_parts(self, parts: int) -> None:
        assert code_of(Case(token=".".join((token().split(".") * 2)[:parts]))) is Code.SIGNATURE_MALFORMED

    def test_signature_left_out(self) -> None:
        header, payload, _ = token().split(".")
        assert code_of(Case(token=f"{header}.{payload}.")) is Code.SIGNATURE_INVALID

    def test_signature_of_another_token(self) -> None:
        header, payload, _ = token().split(".")
        other = token(payload=claims(jti="019aa4d2-6c00-7000-8000-000000000002")).split(".")[2]
        assert code_of(Case(token=f"{header}.{payload}.{other}")) is Code.SIGNATURE_INVALID

    def test_signed_by_someone_elses_key_of_the_same_kind(self) -> None:
        for algorithm in ("EdDSA", "ES256", "RS256", "HS256"):
            forged = token(algorithm, key=private_key(algorithm, 1))
            assert code_of(case(algorithm, token=forged)) is Code.SIGNATURE_INVALID

    def test_huge(self) -> None:
        began = time.process_time()
        assert code_of(Case(token=token(payload=claims(iss="x" * 2_000_000)))) is Code.CLAIMS_INVALID
        assert code_of(Case(token="A" * 5_000_000)) is Code.SIGNATURE_MALFORMED
        assert time.process_time() - began < 2

    @pytest.mark.parametrize("depth", [500, 5_000, 100_000])
    def test_nested_headers(self, depth: int) -> None:
        bomb = b'{"typ":' + b"[" * depth + b"]" * depth + b"}"
        crafted = segment(bomb) + b"." + segment(claims()) + b".AAAA"
        assert code_of(Case(token=crafted.decode())) is Code.SIGNATURE_MALFORMED

    @pytest.mark.parametrize("depth", [500, 5_000, 100_000])
    def test_nested_claims_under_a_right_signature(self, depth: int) -> None:
        bomb = b'{"iss":' + b"[" * depth + b"]" * depth + b"}"
        assert code_of(Case(token=token(payload=bomb))) in (Code.SIGNATURE_MALFORMED, Code.CLAIMS_INVALID)

    @pytest.mark.parametrize("part", [0, 1, 2])
    @pytest.mark.parametrize("spelling", ["{}=", "{}==", " {}", "{}\n", "+{}", "/{}", "{}é", "{}!"])
    def test_another_spelling(self, part: int, spelling: str) -> None:
        parts = token().split(".")
        parts[part] = spelling.format(parts[part])
        assert code_of(Case(token=".".join(parts))) is Code.SIGNATURE_MALFORMED

    def test_bits_that_say_nothing(self) -> None:
        """The last character of 64 bytes holds two bits of them; a reader that drops the others takes 16 spellings."""
        whole = token()
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        place = alphabet.index(whole[-1])
        spellings = [whole[:-1] + alphabet[place // 16 * 16 + bits] for bits in range(16)]
        assert whole in spellings
        for other in set(spellings) - {whole}:
            assert code_of(Case(token=other)) is Code.SIGNATURE_MALFORMED

    def test_claims_that_no_text_can_hold(self) -> None:
        payload = json.dumps(claims(sub="a\ud800")).encode()
        assert code_of(Case(token=token(payload=payload))) is Code.SIGNATURE_MALFORMED

    @pytest.mark.parametrize("payload", [b"[]", b"null", b'"x"', b"1", b"", b"{", b"\xff\xfe", b'{"iss":}'])
    def test_claims_that_are_no_object(self, payload: bytes) -> None:
        assert code_of(Case(token=token(payload=payload))) is Code.SIGNATURE_MALFORMED

    def test_a_number_too_long_for_any_reader(self) -> None:
        payload = json.dumps(claims()).replace(str(NOW_S), "9" * 5_000, 1).encode()
        assert code_of(Case(token=token(payload=payload))) is Code.SIGNATURE_MALFORMED


class TestHeader:
    def test_unknown_kid(self) -> None:
        assert code_of(Case(token=token(kid="someone-else"))) is Code.KEY_UNKNOWN

    def test_no_kid(self) -> None:
        assert code_of(Case(token=token(kid=...))) is Code.KEY_UNKNOWN

    @pytest.mark.parametrize("kid", ["", "../../etc/passwd", "a b", "a\n", "k" * 129, KID + "\0", "'; DROP"])
    def test_a_kid_that_is_no_name(self, kid: str) -> None:
        assert code_of(Case(token=token(kid=kid))) is Code.KEY_UNKNOWN

    @pytest.mark.parametrize("kid", [None, 1, [KID], {KID: 1}, True])
    def test_a_kid_of_another_type(self, kid: object) -> None:
        assert code_of(Case(token=token(kid=kid))) in (Code.KEY_UNKNOWN, Code.SIGNATURE_MALFORMED)

    @pytest.mark.parametrize("typ", [..., None, "", "JWT", "at+jwt", "EASEL-REQUEST+JWT", ["easel-request+jwt"], 1])
    def test_a_token_made_for_something_else(self, typ: object) -> None:
        assert code_of(Case(token=token(typ=typ))) is Code.SIGNATURE_MALFORMED

    @pytest.mark.parametrize(
        "header",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": []},
            {"crit": ["b64"], "b64": True},
            {"b64": False},
            {"b64": True},
            {"crit": "exp"},
        ],
    )
    def test_extensions(self, header: dict[str, Any]) -> None:
        assert code_of(Case(token=token(**header))) is Code.SIGNATURE_MALFORMED

    def test_a_key_brought_along_is_not_used(self) -> None:
        brought: dict[str, Any] = {
            "jwk": {"kty": "oct", "k": "AA"},
            "jku": "https://attacker.example/k",
            "x5u": "https://attacker.example",
        }
        assert code_of(Case(token=token(key=private_key("EdDSA", 1), **brought))) is Code.SIGNATURE_INVALID

    def test_equal_names_in_the_header(self) -> None:
        # Readers of JSON differ in which of them they take: here it is the same one for every check.
        twice = b'{"typ":"easel-request+jwt","kid":"%s","alg":"EdDSA","alg":"none"}' % KID.encode()
        crafted = segment(twice) + b"." + segment(claims()) + b"."
        assert code_of(Case(token=crafted.decode())) is Code.ALGORITHM_MISMATCH


WRONG: dict[str, list[object]] = {
    "iss": ["globex", "", "ACME", "acme ", ["acme"], {"acme": 1}, 1, True, 1.5],
    "aud": ["other-installation", "", [], ["other"], ["easel", "other"], ["easel", "easel"], {"easel": 1}, 1, True],
    "type": ["easel.generation.cancel_requested.v1", "easel.generation.requested.v2", "", ["x"], 1, True],
    "jti": ["019aa4d2-6c00-7000-8000-000000000002", "", ["019aa4d2-6c00-7000-8000-000000000001"], 1, True],
    "iat": ["1763712000", [1763712000], True, -1, 2**53, 1e400, float("nan"), {}],
    "exp": ["1763715600", [1763715600], True, -1, 2**53, 1e400, float("nan"), {}],
    "sub": ["", "Acme", ["acme"], {"acme": 1}, 1, True],
}


class TestClaims:
    @pytest.mark.parametrize("name", sorted(claims()))
    def test_missing(self, name: str) -> None:
        assert code_of(Case(token=token(payload=claims(**{name: ...})))) is Code.CLAIMS_INVALID

    @pytest.mark.parametrize("name", sorted(claims()))
    def test_null(self, name: str) -> None:
        assert code_of(Case(token=token(payload=claims(**{name: None})))) is Code.CLAIMS_INVALID

    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
    def test_changed_or_of_another_type(self, name: str, value: object) -> None:
        with pytest.raises(EaselError) as caught:
            Case(token=token(payload=claims(**{name: value}))).verify()
        assert (caught.value.code, caught.value.param) == (Code.CLAIMS_INVALID, name)

    @pytest.mark.parametrize("digest", ["", "0" * 64, [], {}, 1, True])
    def test_the_hash_of_another_body(self, digest: object) -> None:
        assert code_of(Case(token=token(payload=claims(body_sha256=digest)))) is Code.BODY_MISMATCH

    def test_the_hash_in_another_spelling(self) -> None:
        digest = str(claims()["body_sha256"])
        binary = base64.b64encode(bytes.fromhex(digest)).decode()
        for spelling in (digest.upper(), f"sha256:{digest}", binary):
            assert code_of(Case(token=token(payload=claims(body_sha256=spelling)))) is Code.BODY_MISMATCH

    def test_a_tenant_for_whom_the_key_may_not_speak(self) -> None:
        assert code_of(Case(token=token(payload=claims(sub="globex")))) is Code.TENANT_NOT_ALLOWED


class TestEvent:
    """A right token on an event that it was not made for."""

    def test_another_id(self) -> None:
        assert code_of(Case(event_id="019aa4d2-6c00-7000-8000-000000000002")) is Code.CLAIMS_INVALID

    def test_another_type(self) -> None:
        assert code_of(Case(event_type="easel.generation.cancel_requested.v1")) is Code.CLAIMS_INVALID

    def test_another_installation(self) -> None:
        assert code_of(Case(audience="easel-staging")) is Code.CLAIMS_INVALID


def test_no_refusal_repeats_the_token() -> None:
    for given_case in (
        Case(body=b"x"),
        Case(event_id="other"),
        Case(keys={}),
        Case(token=token(key=private_key("EdDSA", 1))),
        Case(token=token("HS256"), keys={KID: entry("ES256")}),
    ):
        with pytest.raises(EaselError) as caught:
            given_case.verify()
        assert given_case.token is not None
        assert not any(part in caught.value.message for part in given_case.token.split("."))

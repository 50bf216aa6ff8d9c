"""One algorithm a key: none, another, and a public key in the place of a secret are all refused."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.errors import Code
from schemas.signing import ALGORITHMS, Algorithm
from tests.schemas.signed import KID, Case, case, claims, code_of, entry, segment, token, verifying_key


class TestAlgorithm:
    @pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
    def test_none(self, name: str) -> None:
        unsigned = segment({"typ": "easel-request+jwt", "alg": name, "kid": KID}) + b"." + segment(claims()) + b"."
        assert code_of(Case(token=unsigned.decode())) is Code.ALGORITHM_MISMATCH

    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
    @pytest.mark.parametrize("encoding", ["pem", "der", "raw"])
    def test_the_public_key_as_a_shared_secret(self, algorithm: Algorithm, encoding: str) -> None:
        public = verifying_key(algorithm)
        secret = {
            "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "raw": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)[-32:],
        }[encoding]
        forged = self.hmac_by_hand(secret)
        assert code_of(case(algorithm, token=forged)) is Code.ALGORITHM_MISMATCH

    def hmac_by_hand(self, secret: bytes) -> str:
        # PyJWT refuses to sign with a public key; an attacker's code does not.
        signed = segment({"typ": "easel-request+jwt", "alg": "HS256", "kid": KID}) + b"." + segment(claims())
        return (signed + b"." + segment(hmac.digest(secret, signed, "sha256"))).decode()

    @pytest.mark.parametrize("of_key", ALGORITHMS)
    @pytest.mark.parametrize("of_token", ALGORITHMS)
    def test_another_than_the_keys_own(self, of_key: Algorithm, of_token: Algorithm) -> None:
        if of_key == of_token:
            assert case(of_key).verify().kid == KID
        else:
            assert code_of(Case(token=token(of_token), keys={KID: entry(of_key)})) is Code.ALGORITHM_MISMATCH

    @pytest.mark.parametrize("name", ["HS384", "HS512", "RS384", "PS256", "ES384", "ES256K", "EdDSA ", "eddsa"])
    def test_a_name_that_easel_does_not_take(self, name: str) -> None:
        assert code_of(Case(token=token(alg=name))) is Code.ALGORITHM_MISMATCH

    def test_the_keys_own_name_on_another_signature(self) -> None:
        forged = token("ES256", alg="EdDSA")
        assert code_of(Case(token=forged)) is Code.SIGNATURE_INVALID

    @pytest.mark.parametrize("value", [None, 1, ["EdDSA"], {"EdDSA": 1}, ...])
    def test_of_another_type_or_absent(self, value: object) -> None:
        assert code_of(Case(token=token(alg=value))) is Code.ALGORITHM_MISMATCH

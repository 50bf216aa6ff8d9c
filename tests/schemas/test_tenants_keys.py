"""Keys in ``tenants.yaml`` that can't be used: each is refused by its place, and no secret is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from schemas.signing import ALGORITHMS, Algorithm
from tests.schemas.files import inline, problem_of_tenants, public_pem, tenants, with_key
from tests.schemas.signed import private_key, verifying_key

SECRET = "correct-horse-battery-staple-0123456789"


class TestKeysThatCantBeUsed:
    @pytest.mark.parametrize("of_key", ALGORITHMS[:3])
    @pytest.mark.parametrize("said", ALGORITHMS[:3])
    def test_of_another_kind(self, tmp_path: Path, of_key: Algorithm, said: Algorithm) -> None:
        text = inline(said, public_pem(verifying_key(of_key)))
        if of_key == said:
            assert tenants(tmp_path, text).keys["k1"].algorithm == said
        else:
            expected = f"tenants.yaml:7: tenants.0.keys.0.public_key: key 'k1' is not a key for {said}"
            assert problem_of_tenants(tmp_path, text) == expected

    @pytest.mark.parametrize(
        ("alg", "key", "expected"),
        [
            ("ES256", ec.generate_private_key(ec.SECP384R1()), "P-256"),
            ("ES256", ec.generate_private_key(ec.SECP256K1()), "P-256"),
            ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024), "2048 bits"),  # noqa: S505 - that is it
        ],
    )
    def test_too_weak_or_on_another_curve(self, tmp_path: Path, alg: str, key: Any, expected: str) -> None:
        assert expected in problem_of_tenants(tmp_path, inline(alg, public_pem(key.public_key())))

    def test_a_private_key_in_place_of_the_public_one_is_not_repeated(self, tmp_path: Path) -> None:
        pem = private_key("EdDSA").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        said = problem_of_tenants(tmp_path, inline("EdDSA", pem))
        assert "is not a public key in PEM form" in said
        assert not any(line in said for line in pem.splitlines()[1:-1])

    @pytest.mark.parametrize("content", ["", "x" * 31, "  " + "x" * 31 + " \n"])
    def test_a_short_secret_is_not_repeated(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "s").write_text(content)
        said = problem_of_tenants(tmp_path, with_key("{kid: k1, alg: HS256, secret_file: s}"))
        assert said.startswith("tenants.yaml:5: tenants.0.keys.0.secret_file: key 'k1' has fewer than 32 bytes")
        assert "xxx" not in said

    def test_a_public_key_in_place_of_a_secret(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text(public_pem(private_key("EdDSA").public_key()))
        said = problem_of_tenants(tmp_path, with_key("{kid: k1, alg: HS256, secret_file: s}"))
        assert "key 'k1' is a public key, a certificate or a JWK, and no secret" in said

    def test_a_variable_that_is_not_set(self, tmp_path: Path) -> None:
        said = problem_of_tenants(tmp_path, with_key("{kid: k1, alg: HS256, secret_env: EASEL_TEST_ABSENT}"))
        assert "tenants.0.keys.0.secret_env: key 'k1' has fewer than 32 bytes, or none" in said

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        said = problem_of_tenants(tmp_path, with_key("{kid: k1, alg: EdDSA, public_key_file: gone.pem}"))
        assert said.startswith("tenants.yaml:5: tenants.0.keys.0.public_key_file: key 'k1' can't be read: gone.pem: ")

    def test_a_secret_written_into_the_file_is_not_repeated(self, tmp_path: Path) -> None:
        said = problem_of_tenants(tmp_path, with_key(f"{{kid: k1, alg: HS256, secret: {SECRET}}}"))
        assert "tenants.0.keys.0.secret:" in said
        assert SECRET not in said

"""What a right signature says, how long it holds, and for whom its key may speak."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from schemas.errors import Code, EaselError, ErrorType
from schemas.signing import ALGORITHMS, MAX_LIFETIME_S, MAX_SKEW_S, Algorithm, Verified, read_signing_key
from tests.schemas.signed import (
    BODY,
    EVENT_ID,
    KID,
    NOW_MS,
    NOW_S,
    TENANT,
    Case,
    case,
    claims,
    entry,
    private_key,
    signer,
    token,
)


def refused(given: Case) -> EaselError:
    with pytest.raises(EaselError) as caught:
        given.verify()
    assert caught.value.type is ErrorType.AUTHENTICATION
    return caught.value


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_signed_verifies(algorithm: Algorithm) -> None:
    signed = signer(algorithm).sign(
        tenant=TENANT, event_type=Case().event_type, event_id=EVENT_ID, body=BODY, now_s=NOW_S + 0.75
    )
    assert case(algorithm, token=signed).verify() == Verified(tenant=TENANT, issuer=TENANT, kid=KID)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_made_by_hand_verifies_too(algorithm: Algorithm) -> None:
    # Else the forgeries, which are made this way, could all be refused for a reason of their own.
    assert case(algorithm).verify().tenant == TENANT


def test_a_token_of_a_plain_jwt_library_verifies() -> None:
    made = jwt.encode(
        claims(), private_key("EdDSA"), algorithm="EdDSA", headers={"typ": "easel-request+jwt", "kid": KID}
    )
    assert Case(token=made).verify().kid == KID


def test_the_audience_may_be_a_list_of_one_as_some_libraries_write_it() -> None:
    assert Case(token=token(payload=claims(aud=["easel"]))).verify().tenant == TENANT


def test_claims_that_are_not_ours_are_left_alone() -> None:
    assert Case(token=token(payload=claims(scope="images", nonce=[1, 2]))).verify().tenant == TENANT


class TestIdempotencyKey:
    """What nobody signed decides nothing."""

    def test_is_signed_with_the_event(self) -> None:
        signed = signer("EdDSA").sign(
            tenant=TENANT,
            event_type=Case().event_type,
            event_id=EVENT_ID,
            body=BODY,
            now_s=NOW_S,
            idempotency_key="order-7",
        )
        assert Case(token=signed, idempotency_key="order-7").verify().tenant == TENANT

    @pytest.mark.parametrize(
        ("header", "claim"),
        [("order-7", ...), (None, "order-7"), ("order-7", "order-8"), ("", ...), ("7", 7), ("None", None), (None, "")],
    )
    def test_both_or_neither_and_the_same(self, header: str | None, claim: object) -> None:
        error = refused(Case(token=token(payload=claims(idempotencykey=claim)), idempotency_key=header))
        assert (error.code, error.param) == (Code.CLAIMS_INVALID, "idempotencykey")


def test_times_may_be_fractions_of_a_second() -> None:
    given = Case(token=token(payload=claims(iat=NOW_S - 0.5, exp=NOW_S + 0.25)))
    assert given.verify().tenant == TENANT


class TestTime:
    """All of it against the time at which the broker appended the record."""

    def test_a_backlog_expires_nothing(self) -> None:
        # Verified now, years after it was appended: only the append time counts.
        long_ago = token(payload=claims(iat=1_000_000_000, exp=1_000_000_060))
        assert Case(token=long_ago, appended_ms=1_000_000_030_000).verify().tenant == TENANT

    @pytest.mark.parametrize(("late_ms", "code"), [(-1, None), (0, Code.TOKEN_EXPIRED), (1, Code.TOKEN_EXPIRED)])
    def test_it_ends_at_exp_to_the_millisecond(self, late_ms: int, code: Code | None) -> None:
        given = Case(appended_ms=NOW_MS + 3_600_000 + late_ms)
        if code is None:
            assert given.verify().tenant == TENANT
        else:
            assert refused(given).code is code

    @pytest.mark.parametrize(("ahead_ms", "code"), [(0, None), (1, Code.TOKEN_NOT_YET_VALID)])
    def test_a_publishers_clock_may_run_ahead_a_little(self, ahead_ms: int, code: Code | None) -> None:
        given = Case(appended_ms=NOW_MS - MAX_SKEW_S * 1000 - ahead_ms)
        if code is None:
            assert given.verify().tenant == TENANT
        else:
            assert refused(given).code is code

    @pytest.mark.parametrize(
        ("lifetime", "code"),
        [
            (1, None),
            (MAX_LIFETIME_S, None),
            (MAX_LIFETIME_S + 1, Code.TOKEN_LIFETIME),
            (0, Code.TOKEN_LIFETIME),
            (-1, Code.TOKEN_LIFETIME),
        ],
    )
    def test_it_lives_a_day_at_most(self, lifetime: int, code: Code | None) -> None:
        given = Case(token=token(payload=claims(exp=NOW_S + lifetime)))
        if code is None:
            assert given.verify().tenant == TENANT
        else:
            assert refused(given).code is code


class TestIssuer:
    """A key that may speak for several tenants."""

    def given(self, tenants: frozenset[str] | None, sub: object) -> Case:
        keys = {KID: entry("EdDSA", issuer="easel-api", tenants=tenants)}
        return Case(token=token(payload=claims(iss="easel-api", sub=sub)), keys=keys)

    def test_speaks_for_the_tenants_that_are_named(self) -> None:
        verified = self.given(frozenset({"acme", "globex"}), "globex").verify()
        assert verified == Verified(tenant="globex", issuer="easel-api", kid=KID)

    def test_and_for_no_other(self) -> None:
        assert refused(self.given(frozenset({"globex"}), "acme")).code is Code.TENANT_NOT_ALLOWED

    def test_or_for_all(self) -> None:
        assert self.given(None, "initech").verify().tenant == "initech"

    @pytest.mark.parametrize("sub", ["", "../globex", "Globex", "a b", "a" * 64, ["acme"], {"a": 1}, 7, True])
    def test_even_then_a_tenant_is_a_name(self, sub: object) -> None:
        assert refused(self.given(None, sub)).code is Code.CLAIMS_INVALID

    def test_must_sign_in_its_own_name(self) -> None:
        keys = {KID: entry("EdDSA", issuer="easel-api", tenants=None)}
        error = refused(Case(token=token(payload=claims(iss="acme")), keys=keys))
        assert (error.code, error.param) == (Code.CLAIMS_INVALID, "iss")


class TestRotation:
    def test_two_live_keys_both_verify(self) -> None:
        keys = {"old": entry("EdDSA", kid="old"), "new": entry("EdDSA", kid="new", which=1)}
        assert Case(token=token(kid="old"), keys=keys).verify().kid == "old"
        assert Case(token=token(kid="new", key=private_key("EdDSA", 1)), keys=keys).verify().kid == "new"

    def test_one_key_does_not_pass_under_the_others_name(self) -> None:
        keys = {"old": entry("EdDSA", kid="old"), "new": entry("EdDSA", kid="new", which=1)}
        assert refused(Case(token=token(kid="new"), keys=keys)).code is Code.SIGNATURE_INVALID

    def test_a_withdrawn_key_is_unknown(self) -> None:
        assert refused(Case(keys={})).code is Code.KEY_UNKNOWN


class TestReadSigningKey:
    def pem(self, key: object, *, password: bytes | None = None) -> str:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()  # type: ignore[attr-defined, no-any-return]

    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
    def test_tells_the_algorithm_from_the_key(self, algorithm: Algorithm) -> None:
        assert read_signing_key(self.pem(private_key(algorithm)))[0] == algorithm

    def test_takes_a_shared_secret_without_its_line_end(self) -> None:
        assert read_signing_key("x" * 32 + "\n") == ("HS256", b"x" * 32)

    @pytest.mark.parametrize(
        "text",
        [
            "x" * 31,
            "",
            "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----\n",
        ],
    )
    def test_says_what_is_wrong_without_the_key(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"secret needs at least|not an unencrypted private key") as caught:
            read_signing_key(text)
        assert not text or text not in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_refuses_a_key_that_needs_a_password(self) -> None:
        with pytest.raises(ValueError, match="unencrypted"):
            read_signing_key(self.pem(private_key("EdDSA"), password=b"hunter2"))

    def test_refuses_another_curve(self) -> None:
        with pytest.raises(ValueError, match="P-256"):
            read_signing_key(self.pem(ec.generate_private_key(ec.SECP384R1())))


def test_no_key_shows_in_a_repr() -> None:
    secret = private_key("HS256")
    assert repr(secret) not in repr(signer("HS256"))
    assert repr(secret) not in repr(entry("HS256"))

"""``tenants.yaml``: what an operator can write, and how a mistake in it is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from schemas.signing import Algorithm
from schemas.tenants import Limits, load_tenants
from schemas.yaml_file import ConfigError
from tests.schemas.files import inline, problem_of_tenants, public_pem, tenants, with_key
from tests.schemas.signed import Case, case, verifying_key

KEYS = "keys: [{kid: k, alg: EdDSA, public_key: x}]"
SECRET = "correct-horse-battery-staple-0123456789"


class TestWhatCanBeWritten:
    def test_a_tenant_with_all_of_it(self, tmp_path: Path) -> None:
        directory = tenants(
            tmp_path,
            f"""
            version: 7
            tenants:
              - id: acme
                name: Acme Corporation
                models: [easel-tiny]
                limits:
                  requests_per_minute: 60
                  burst: 5
                  units_per_day: 12.345
                  units_per_month: 100
                price_factor: 0.5
                time_zone: Asia/Shanghai
                own_topic: true
                api_keys:
                  - {{id: web, sha256: {"a" * 64}}}
              - id: globex
                status: suspended
            """,
        )
        acme, globex = directory.tenants["acme"], directory.tenants["globex"]
        assert directory.version == 7
        assert (acme.limits.day_milliunits, acme.limits.month_milliunits) == (12_345, 100_000)
        assert (acme.limits.requests_per_minute, acme.limits.burst) == (60, 5)
        assert (acme.price_factor, acme.time_zone) == (Decimal("0.5"), "Asia/Shanghai")
        assert directory.api_keys == {"a" * 64: ("acme", "web")}
        assert directory.own_topics() == ["acme"]
        assert globex.status == "suspended"
        assert globex.limits == Limits()
        assert (globex.limits.day_milliunits, globex.limits.queued) == (None, 1_000)

    @pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
    @pytest.mark.parametrize("by_file", [True, False])
    def test_a_public_key_verifies(self, tmp_path: Path, algorithm: Algorithm, by_file: bool) -> None:
        pem = public_pem(verifying_key(algorithm))
        (tmp_path / "k1.pem").write_text(pem)
        text = with_key(f"{{kid: acme-2026, alg: {algorithm}, public_key_file: k1.pem}}")
        if not by_file:
            text = inline(algorithm, pem, "acme-2026")
        keys = dict(tenants(tmp_path, text).keys)
        assert case(algorithm, keys=keys).verify().tenant == "acme"

    @pytest.mark.parametrize("source", ["secret_file: s", "secret_env: EASEL_TEST_SECRET"])
    def test_a_secret_verifies_without_its_line_end(
        self, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "s").write_text(SECRET + "\n")
        monkeypatch.setenv("EASEL_TEST_SECRET", SECRET)
        directory = tenants(tmp_path, with_key(f"{{kid: k1, alg: HS256, {source}}}"))
        assert directory.keys["k1"].material == SECRET.encode()

    def test_whom_a_key_may_speak_for(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text(SECRET)
        directory = tenants(
            tmp_path,
            """
            version: 1
            tenants:
              - {id: acme, keys: [{kid: own, alg: HS256, secret_file: s}]}
              - id: globex
            issuers:
              - {id: easel-api, tenants: "*", keys: [{kid: all, alg: HS256, secret_file: s}]}
              - {id: cms, tenants: [globex], keys: [{kid: one, alg: HS256, secret_file: s}]}
            """,
        )
        assert {kid: (key.issuer, key.tenants) for kid, key in directory.keys.items()} == {
            "own": ("acme", frozenset({"acme"})),
            "all": ("easel-api", None),
            "one": ("cms", frozenset({"globex"})),
        }

    @pytest.mark.parametrize("units", ["0.1", "1.005", "999999999999.999", "0", '"3.3"'])
    def test_units_are_exact(self, tmp_path: Path, units: str) -> None:
        directory = tenants(tmp_path, f"version: 1\ntenants:\n  - id: acme\n    limits: {{units_per_day: {units}}}\n")
        assert directory.tenants["acme"].limits.day_milliunits == int(Decimal(units.strip('"')) * 1000)


class TestMistakes:
    """File, line and field of each."""

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("idd: x", "tenants.yaml:4: tenants.0.idd:"),
            ("status: paused", "tenants.yaml:4: tenants.0.status:"),
            ("limits: {requests_per_minute: 0}", "tenants.yaml:4: tenants.0.limits.requests_per_minute:"),
            ("limits: {units_per_day: 0.0001}", "tenants.yaml:4: tenants.0.limits.units_per_day:"),
            ("limits: {units_per_day: -1}", "tenants.yaml:4: tenants.0.limits.units_per_day:"),
            ("limits: {units_per_day: .nan}", "tenants.yaml:4: tenants.0.limits.units_per_day:"),
            ("limits: {units_per_day: .inf}", "tenants.yaml:4: tenants.0.limits.units_per_day:"),
            ("limits: {unit_per_day: 1}", "tenants.yaml:4: tenants.0.limits.unit_per_day:"),
            ("limits: {burst: 3}", "tenants.yaml:4: tenants.0.limits: burst needs requests_per_minute"),
            ("limits: {queued: 0}", "tenants.yaml:4: tenants.0.limits.queued:"),
            ("time_zone: Mars/Olympus", "tenants.yaml:4: tenants.0.time_zone: 'Mars/Olympus' is not a time zone"),
            ("time_zone: ../../etc/passwd", "tenants.yaml:4: tenants.0.time_zone:"),
            ("price_factor: -0.5", "tenants.yaml:4: tenants.0.price_factor:"),
            ("own_topic: perhaps", "tenants.yaml:4: tenants.0.own_topic:"),
            ("api_keys: [{id: web, sha256: abc}]", "tenants.yaml:4: tenants.0.api_keys.0.sha256:"),
            ("keys: [{kid: k1, alg: none, public_key: x}]", "tenants.yaml:4: tenants.0.keys.0.alg:"),
            ("keys: [{kid: 'k 1', alg: EdDSA, public_key: x}]", "tenants.yaml:4: tenants.0.keys.0.kid:"),
            ("keys: [{kid: 2026-11-21, alg: EdDSA, public_key: x}]", "tenants.yaml:4: tenants.0.keys.0.kid:"),
            ("keys: [{kid: k1, alg: EdDSA}]", "tenants.yaml:4: tenants.0.keys.0: an EdDSA key needs exactly one of"),
            ("keys: [{kid: k1, alg: HS256, public_key: x}]", "tenants.0.keys.0: an HS256 key needs exactly one of"),
            ("keys: [{kid: k1, alg: EdDSA, secret_file: s}]", "tenants.0.keys.0: an EdDSA key needs exactly one of"),
            ("keys: [{kid: k1, alg: EdDSA, public_key: x, public_key_file: y}]", "needs exactly one of"),
        ],
    )
    def test_in_a_tenant(self, tmp_path: Path, line: str, expected: str) -> None:
        said = problem_of_tenants(tmp_path, f"version: 1\ntenants:\n  - id: acme\n    {line}\n")
        assert expected in said

    @pytest.mark.parametrize("name", ["Acme", "acme!", "-acme", "a" * 64, "acme_1", "a.b", '""', "7"])
    def test_a_tenants_id(self, tmp_path: Path, name: str) -> None:
        assert "tenants.yaml:3: tenants.0.id:" in problem_of_tenants(
            tmp_path, f"version: 1\ntenants:\n  - id: {name}\n"
        )

    def test_the_line_is_that_of_the_field_deep_in_the_file(self, tmp_path: Path) -> None:
        text = """
        version: 1
        tenants:
          - id: acme
          # a remark

          - id: globex
            limits:
              queued: 5
              images: 11
        """
        assert problem_of_tenants(tmp_path, text).startswith("tenants.yaml:9: tenants.1.limits.images:")

    def test_each_has_a_line_of_its_own(self, tmp_path: Path) -> None:
        said = problem_of_tenants(tmp_path, "version: 0\ntenants:\n  - id: A\n  - id: B\n").splitlines()
        assert [line.split(": ")[0] for line in said] == ["tenants.yaml:1", "tenants.yaml:3", "tenants.yaml:4"]

    def test_a_flood_is_cut(self, tmp_path: Path) -> None:
        said = problem_of_tenants(tmp_path, "version: 1\ntenants:\n" + "  - id: A\n" * 50).splitlines()
        assert len(said) == 9
        assert said[-1] == "tenants.yaml: and 42 more"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "version: 1\ntenants:\n  - id: acme\n  - id: acme\n",
                "tenants.yaml:4: tenants.1.id: tenant 'acme' stands twice",
            ),
            (
                f"version: 1\ntenants:\n  - id: acme\nissuers:\n  - id: acme\n    tenants: '*'\n    {KEYS}\n",
                "tenants.yaml:5: issuers.0.id: the issuer 'acme' has the name of a tenant",
            ),
            (
                f"version: 1\ntenants:\n  - id: acme\nissuers:\n  - id: cms\n    tenants: [acme, globex]\n    {KEYS}\n",
                "tenants.yaml:6: issuers.0.tenants: names tenants that are not in the file: globex",
            ),
            (
                "version: 1\ntenants:\n  - id: acme\nissuers:\n  - {id: cms, tenants: '*', keys: []}\n",
                "issuers.0.keys:",
            ),
            ("version: 1\ntenants: []\n", "tenants.yaml:2: tenants:"),
            ("tenants:\n  - id: acme\n", "version:"),
            ("version: 1.5\ntenants:\n  - id: acme\n", "tenants.yaml:1: version:"),
            ("version: 1\ntenant:\n  - id: acme\n", "tenants.yaml:2: tenant:"),
            ("", "file:"),
            ("- a\n", "file:"),
        ],
    )
    def test_in_the_whole(self, tmp_path: Path, text: str, expected: str) -> None:
        assert expected in problem_of_tenants(tmp_path, text)

    @pytest.mark.parametrize("second", ["acme", "globex"])
    def test_a_kid_names_one_key(self, tmp_path: Path, second: str) -> None:
        key = "keys: [{kid: k1, alg: HS256, secret_env: S}]"
        where = {
            "acme": f"  - {{id: acme, {key[:-1]}, {key[7:]}}}\n",
            "globex": f"  - {{id: acme, {key}}}\n  - {{id: globex, {key}}}\n",
        }
        assert "kid 'k1' stands twice" in problem_of_tenants(tmp_path, "version: 1\ntenants:\n" + where[second])

    def test_a_kid_is_not_shared_with_an_issuer(self, tmp_path: Path) -> None:
        key = "keys: [{kid: k1, alg: HS256, secret_env: S}]"
        text = f"version: 1\ntenants:\n  - {{id: acme, {key}}}\nissuers:\n  - {{id: cms, tenants: '*', {key}}}\n"
        assert "tenants.yaml:5: issuers.0.keys.0.kid: kid 'k1' stands twice" in problem_of_tenants(tmp_path, text)

    def test_an_api_key_is_one_tenants(self, tmp_path: Path) -> None:
        key = f"api_keys: [{{id: web, sha256: {'a' * 64}}}]"
        text = f"version: 1\ntenants:\n  - {{id: acme, {key}}}\n  - {{id: globex, {key}}}\n"
        assert "tenants.yaml:4: tenants.1.api_keys.0.sha256: API key" in problem_of_tenants(tmp_path, text)

    def test_names_that_stand_twice(self, tmp_path: Path) -> None:
        text = "version: 1\ntenants:\n  - id: acme\n    limits: {queued: 1}\n    limits: {queued: 9}\n"
        assert problem_of_tenants(tmp_path, text) == "tenants.yaml:5: limits: stands twice in one place"


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(SECRET)
    directory = tenants(tmp_path, with_key("{kid: k1, alg: HS256, secret_file: s}"))
    assert SECRET not in repr(directory)
    assert SECRET not in repr(directory.keys)


def test_a_request_verifies_with_the_directory(tmp_path: Path) -> None:
    directory = tenants(tmp_path, inline("EdDSA", public_pem(verifying_key("EdDSA")), "acme-2026"))
    assert Case(keys=dict(directory.keys)).verify().tenant == "acme"


def test_who_only_signs_needs_no_secret_of_a_tenant(tmp_path: Path) -> None:
    """The HTTP API reads its own issuer's key; the tenants' secrets need not be on its machine."""
    (tmp_path / "shim").write_text("s" * 32)
    path = tmp_path / "tenants.yaml"
    path.write_text(
        """
version: 1
tenants:
  - {id: acme, keys: [{kid: acme-1, alg: HS256, secret_file: not-here}]}
issuers:
  - {id: shim, tenants: "*", keys: [{kid: shim-1, alg: HS256, secret_file: shim}]}
  - {id: other, tenants: [acme], keys: [{kid: other-1, alg: HS256, secret_file: not-here}]}
"""
    )
    assert set(load_tenants(path, only_issuer="shim").keys) == {"shim-1"}
    with pytest.raises(ConfigError, match="acme-1"):
        load_tenants(path)

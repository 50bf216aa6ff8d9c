"""Files as an operator writes them, in a folder of a test's own."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.catalog import Catalog, load_catalog
from schemas.tenants import Directory, load_tenants
from schemas.yaml_file import ConfigError


def public_pem(key: Any) -> str:
    made: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made.decode()


def write(folder: Path, text: str, name: str = "tenants.yaml") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def tenants(folder: Path, text: str) -> Directory:
    return load_tenants(write(folder, text))


def models(folder: Path, text: str) -> Catalog:
    return load_catalog(write(folder, text, "models.yaml"))


def problem_of_tenants(folder: Path, text: str) -> str:
    """What is said about a file that can't be used, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        tenants(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def problem_of_models(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        models(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def with_key(key: str) -> str:
    """A file with one tenant, and this key of it."""
    return f"version: 1\ntenants:\n  - id: acme\n    keys:\n      - {key}\n"


def inline(alg: str, pem: str, kid: str = "k1") -> str:
    """The same, with the public key written into the file."""
    return with_key(
        f"kid: {kid}\n        alg: {alg}\n        public_key: |\n"
        + "".join(f"          {line}\n" for line in pem.splitlines())
    )

"""Where the SDK finds its cluster and its key: given in code, or read from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from schemas.connection import KafkaSettings, Section, StoreSettings
from schemas.signing import Signer, read_signing_key

__all__ = ["ClientConfig", "ConfigurationError", "flag", "signer_of"]

_KAFKA, _STORE = "EASEL_KAFKA_", "EASEL_STORE_"
_Section = TypeVar("_Section", bound=Section)


class ConfigurationError(ValueError):
    """A setting is missing or can't be used; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """All that a client needs to know."""

    tenant: str
    signer: Signer
    kafka: KafkaSettings
    store: StoreSettings | None = None
    own_topic: bool = False

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> ClientConfig:
        """Read ``EASEL_TENANT``, ``EASEL_KID``, ``EASEL_KEY_FILE`` (or ``EASEL_KEY``), ``EASEL_INSTALLATION`` and
        ``EASEL_KAFKA_…`` and ``EASEL_STORE_…``, each a field of ``KafkaSettings`` and ``StoreSettings``; a secret may
        be in a file, such as ``EASEL_KAFKA_PASSWORD_FILE``. ``EASEL_OWN_TOPIC`` is ``true`` to read only the tenant's
        own results topic.

        Raises ``ConfigurationError``.
        """
        env = os.environ if environment is None else environment
        tenant = _required(env, "EASEL_TENANT", "the name of your tenant")
        kid = _required(env, "EASEL_KID", "the id of your key, as tenants.yaml has it")
        file = env.get("EASEL_KEY_FILE")
        key = _read("EASEL_KEY_FILE", file) if file else _required(env, "EASEL_KEY", "or EASEL_KEY_FILE, its path")
        installation = env.get("EASEL_INSTALLATION") or "easel"
        return cls(
            tenant=tenant,
            signer=signer_of(tenant=tenant, key=key, kid=kid, installation=installation),
            kafka=_section(env, _KAFKA, KafkaSettings),
            store=_section(env, _STORE, StoreSettings) if any(name.startswith(_STORE) for name in env) else None,
            own_topic=flag(env, "EASEL_OWN_TOPIC"),
        )


def signer_of(*, tenant: str, key: str | Path, kid: str, installation: str) -> Signer:
    """The signer of a tenant's own key: text, or the path of a file. Raises ``ConfigurationError``."""
    text = _read("key", key) if isinstance(key, Path) else key
    try:
        algorithm, material = read_signing_key(text)
    except ValueError as error:
        raise ConfigurationError(f"the key {kid!r} can't be used: {error}") from None
    return Signer(kid=kid, algorithm=algorithm, key=material, issuer=tenant, audience=installation)


def _section(env: Mapping[str, str], prefix: str, shape: type[_Section]) -> _Section:
    given = {
        name.removeprefix(prefix).lower(): value for name, value in env.items() if name.startswith(prefix) and value
    }
    # A field that is itself a path, such as ``ca_file``, is no secret in a file.
    for name in [name for name in given if name.endswith("_file") and name not in shape.model_fields]:
        given[name.removesuffix("_file")] = _read(f"{prefix}{name.upper()}", given.pop(name))
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = prefix + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name.rstrip('_')}: {first['msg']}") from None


def flag(env: Mapping[str, str], name: str) -> bool:
    """A variable that is true or false; false when not set. Raises ``ConfigurationError``."""
    value = env.get(name, "").lower()
    if value not in {"", "true", "false", "1", "0"}:
        raise ConfigurationError(f"{name} is {value[:20]!r}: set it to true or false")
    return value in {"true", "1"}


def _required(env: Mapping[str, str], name: str, what: str) -> str:
    value = env.get(name)
    if not value:
        raise ConfigurationError(f"{name} is not set: {what}")
    return value


def _read(name: str, path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(f"{name}: {path} can't be read: {reason}") from None

"""Webhooks in ``tenants.yaml``: where a tenant's results are posted, and the secrets that sign them."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.errors import Code, EaselError, ErrorType
from schemas.webhooks import DEFAULT_EVENTS, Events, RequestWebhook, Url, host_of
from schemas.yaml_file import ConfigError, Location, locate

__all__ = ["NAME", "Endpoint", "RequestWebhooks", "Secret", "make_secret", "require_allowed", "secrets_of"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The name of an endpoint."""

EndpointName = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
HostPattern = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[a-z0-9.-]+$", max_length=255)]

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Secret(_Entry):
    """Where a secret of Standard Webhooks (``whsec_…``) lies: in a file, or in a variable."""

    secret_file: Path | None = None
    secret_env: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Secret:
        if (self.secret_file is None) == (self.secret_env is None):
            raise ValueError("a webhook's secret needs exactly one of secret_file or secret_env")
        return self


Secrets = Annotated[tuple[Secret, ...], Field(min_length=1, max_length=3)]
"""Each signs: while one takes another's place, both stand here."""


class Endpoint(_Entry):
    """Where a tenant's results are posted."""

    name: EndpointName
    url: Url
    events: Events = DEFAULT_EVENTS
    secrets: Secrets


class RequestWebhooks(_Entry):
    """Lets a tenant's requests name a URL of their own."""

    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1)]
    """Hosts that they may name; ``*.example.com`` means every name below ``example.com``."""
    secrets: Secrets


def require_allowed(tenant: str, allowed: RequestWebhooks | None, wanted: RequestWebhook) -> None:
    """Raise ``EaselError(webhook_not_allowed)`` unless this tenant's requests may name that URL."""
    host = host_of(wanted.url)
    hosts = () if allowed is None else allowed.hosts
    if not any(host.endswith(one[1:]) if one.startswith("*.") else host == one for one in hosts):
        told = f"its requests may name: {', '.join(hosts)}" if hosts else "its requests may name none"
        raise EaselError(
            Code.WEBHOOK_NOT_ALLOWED,
            f"the tenant {tenant!r} may not have events posted to {host!r}; {told}",
            param="webhook.url",
            type=ErrorType.PERMISSION,
        )


def make_secret() -> str:
    """A new secret: 256 random bits, as Standard Webhooks writes them."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secrets_of(entries: Sequence[Secret], file: Path, location: Location) -> tuple[bytes, ...]:
    """The secrets themselves. Paths are taken from the folder of the file that names them.

    Raises ``ConfigError`` for one that can't be used, with its place; it repeats nothing of the secret.
    """
    return tuple(_material(entry, file, (*location, "secrets", i)) for i, entry in enumerate(entries))


def _material(entry: Secret, file: Path, location: Location) -> bytes:
    if entry.secret_file is None:
        source, text = "secret_env", os.environ.get(entry.secret_env or "", "")
    else:
        source = "secret_file"
        try:
            text = (file.parent / entry.secret_file).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not ASCII"
            raise ConfigError(f"{locate(file, (*location, source))}: can't be read: {reason}") from None
    try:
        raw = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.strip().startswith(_PREFIX) or not _LEAST_BYTES <= len(raw) <= _MOST_BYTES:
        raise ConfigError(
            f"{locate(file, (*location, source))}: is not `{_PREFIX}` and the base64 of {_LEAST_BYTES} to {_MOST_BYTES}"
            " bytes: `easel keys webhook` makes one"
        )
    return raw

"""The users file: who may sign in to the HTTP API by name and password, and for which tenant.

It holds no password: of each only its Argon2 hash, as ``easel keys user`` makes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.tenants import TenantId
from schemas.yaml_file import MisplacedError, read_yaml

__all__ = ["MAX_NAME_CHARS", "User", "UserName", "UsersFile", "load_users"]

_ARGON2ID = r"^\$argon2id\$v=19\$m=\d{1,7},t=\d{1,2},p=\d{1,2}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+$"

MAX_NAME_CHARS = 100
UserName = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]+$", max_length=MAX_NAME_CHARS)]


class User(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: UserName
    tenant: TenantId
    """For whom this user asks; the tenant's limits hold for all of its users together."""
    password: Annotated[str, StringConstraints(pattern=_ARGON2ID)] = Field(repr=False)
    """Its Argon2id hash."""
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """What this user may ask for, within what the tenant may."""

    @property
    def fingerprint(self) -> str:
        """Changes with the password: a token that was given for an earlier one has another."""
        return hashlib.sha256(self.password.encode()).hexdigest()[:16]


class UsersFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Annotated[list[User], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> UsersFile:
        seen = set[str]()
        for index, user in enumerate(self.users):
            if user.user in seen:
                raise MisplacedError(f"user {user.user!r} stands twice", "users", index, "user")
            seen.add(user.user)
        return self


def load_users(path: Path) -> Mapping[str, User]:
    """The users by name. Raises ``ConfigError``."""
    return {user.user: user for user in read_yaml(path, UsersFile).users}

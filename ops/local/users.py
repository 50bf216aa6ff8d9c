"""The users of a secure stack: one for each role and tenant, with its own secret and no more rights than it needs."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.local.authority import write_secret
from ops.local.errors import LocalStackError
from ops.local.stack import Endpoints
from schemas.access import ROLES, Grant, grants, tenant_grants
from schemas.store_access import STORE_ROLES, policy_of, tenant_policy
from schemas.topics import Topics
from transport.access import allow, put_users
from transport.store_users import StoreUsers

__all__ = ["Users", "tenant_user"]

_OWN = ("publisher",)
"""Roles that are a tenant's in a stack on one machine, and no user's by themselves."""


def tenant_user(tenant: str) -> str:
    """The name under which a tenant's programs sign in."""
    return f"tenant.{tenant}"


@dataclass(frozen=True, slots=True)
class Users:
    """The users of one data directory; their secrets are files of mode 0600 in its ``users`` folder."""

    directory: Path

    async def provide(self, endpoints: Endpoints, *, topics: Topics, bucket: str, tenants: Mapping[str, bool]) -> None:
        """Make every user of the broker and of the store, and give each what its role needs. Safe to repeat.

        ``tenants``: their ids, and whether each has a topic of its own.

        Raises ``LocalStackError`` for one that is not secure, ``TransportError`` when a part doesn't answer.
        """
        if endpoints.admin is None:
            raise LocalStackError("this stack has no users: `easel up --secure` makes one that has users")
        rights = self._rights(topics, tenants)
        await put_users(endpoints.admin, {user: self._secret(f"{user}.password") for user in rights})
        await allow(endpoints.admin, rights)
        store = StoreUsers(endpoints.store_root)
        policies: dict[str, dict[str, Any]] = {role: policy_of(role, bucket) for role in STORE_ROLES}
        policies |= {tenant_user(tenant): tenant_policy(bucket, tenant) for tenant in tenants}
        for user, policy in policies.items():
            await store.put_policy(f"{bucket}.{user}", policy)
            await store.put_user(user, self._secret(f"{user}.store-secret"), f"{bucket}.{user}")
            write_secret(self._path(f"{user}.store-access"), f"{user}\n")

    def environment(self, user: str) -> dict[str, str]:
        """What makes a process sign in as this user: it names the files, and holds no secret."""
        in_store = user in STORE_ROLES or user.startswith(tenant_user(""))
        return {
            "EASEL_KAFKA_USERNAME": user,
            "EASEL_KAFKA_PASSWORD_FILE": str(self._path(f"{user}.password")),
            "EASEL_STORE_ACCESS_KEY_FILE": str(self._path(f"{user}.store-access")) if in_store else "",
            "EASEL_STORE_SECRET_KEY_FILE": str(self._path(f"{user}.store-secret")) if in_store else "",
        }

    @staticmethod
    def names(tenants: Iterable[str]) -> list[str]:
        """Every user that is made."""
        return [*(role for role in ROLES if role not in _OWN), *(tenant_user(tenant) for tenant in tenants)]

    def _rights(self, topics: Topics, tenants: Mapping[str, bool]) -> dict[str, list[Grant]]:
        rights: dict[str, list[Grant]] = {role: grants(role, topics) for role in ROLES if role not in _OWN}
        for tenant, own_topic in tenants.items():
            reads = tenant_grants("subscriber", topics, tenant) if own_topic else []
            rights[tenant_user(tenant)] = [*grants("publisher", topics), *reads]
        return rights

    def _secret(self, name: str) -> str:
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(path, secrets.token_urlsafe(30) + "\n")
        return path.read_text(encoding="utf-8").strip()

    def _path(self, name: str) -> Path:
        return self.directory / "users" / name

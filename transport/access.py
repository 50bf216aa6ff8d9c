"""Gives users of the cluster what their role needs, and takes it away again: ACLs and SCRAM users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import aiokafka.errors as kafka
from aiokafka.protocol.admin import DescribeAclsRequest

from schemas.access import Grant
from schemas.connection import KafkaSettings
from transport.acl_wire import ALLOW, ANY_HOST, AlterUsers, CreateAcls, DeleteAcls, coded, grant_of
from transport.admin import admin_client
from transport.errors import Misconfigured, limited

__all__ = ["allow", "allowed", "disallow", "drop_users", "put_users"]

_CALL_S = 30.0
_ANY = 1


async def allowed(settings: KafkaSettings, user: str, *, timeout_s: float = _CALL_S) -> set[Grant]:
    """What ``user`` may do, of the kinds that easel gives. Raises Misconfigured or Unavailable."""
    request = DescribeAclsRequest(_ANY, None, _ANY, _principal(user), ANY_HOST, _ANY, ALLOW)
    async with limited("reading ACLs", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        response = await admin._send_request(request)
    _require(response.error_code, response.error_message, "read ACLs", settings)
    found = (
        grant_of(resource, name, pattern, operation, permission)
        for resource, name, pattern, acls in response.resources
        for _, _, operation, permission in acls
    )
    return {grant for grant in found if grant is not None}


async def allow(settings: KafkaSettings, grants: Mapping[str, Iterable[Grant]], *, timeout_s: float = _CALL_S) -> None:
    """Gives each user its grants; what it has already stays. Raises Misconfigured or Unavailable."""
    acls = [coded(grant, _principal(user)) for user, several in grants.items() for grant in several]
    async with limited("making ACLs", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        response = await admin._send_request(CreateAcls(acls))
    for code, message in response.creation_responses:
        _require(code, message, "make ACLs", settings)


async def disallow(settings: KafkaSettings, user: str, grants: Iterable[Grant], *, timeout_s: float = _CALL_S) -> None:
    """Takes grants from a user; those that it does not have are no error. Raises Misconfigured or Unavailable."""
    filters = [coded(grant, _principal(user)) for grant in grants]
    async with limited("removing ACLs", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        response = await admin._send_request(DeleteAcls(filters))
    for code, message, _matching in response.filter_responses:
        _require(code, message, "remove ACLs", settings)


async def put_users(settings: KafkaSettings, passwords: Mapping[str, str], *, timeout_s: float = _CALL_S) -> None:
    """Makes SCRAM-SHA-512 users, or gives those that are there another password; their open connections go on.

    Raises:
        Misconfigured: this user may not do that (it takes Alter on the cluster).
        Unavailable: not done within ``timeout_s`` seconds.
    """
    await _alter(settings, AlterUsers(put=passwords.items()), timeout_s)


async def drop_users(settings: KafkaSettings, users: Iterable[str], *, timeout_s: float = _CALL_S) -> None:
    """Removes SCRAM-SHA-512 users: they can't sign in again. Raises Misconfigured (also for an unknown one) or
    Unavailable."""
    await _alter(settings, AlterUsers(drop=users), timeout_s)


async def _alter(settings: KafkaSettings, request: AlterUsers, timeout_s: float) -> None:
    async with limited("changing users", settings.bootstrap_servers, timeout_s), admin_client(settings) as admin:
        response = await admin._send_request(request)
    for user, code, message, _tags in response.results:
        _require(code, message, f"change the user {user!r}", settings)


def _principal(user: str) -> str:
    return f"User:{user}"


def _require(code: int, message: str | None, doing: str, settings: KafkaSettings) -> None:
    error = kafka.for_code(code)
    if error is not kafka.NoError:
        why = f"{error.__name__}: {message or error.description}"
        raise Misconfigured(
            f"the cluster refuses to {doing}: {why}",
            "sign in as a user with Alter on the cluster",
            where=settings.bootstrap_servers,
        )

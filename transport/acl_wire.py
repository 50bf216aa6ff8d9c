"""The requests about ACLs and SCRAM users as they go over the wire, where aiokafka has none or only one ACL at a time.

Codes and layouts: Kafka's protocol guide, CreateAcls v1, DeleteAcls v1, DescribeAcls v1 (KIP-290) and
AlterUserScramCredentials v0 (KIP-554).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from schemas.access import Grant, Operation, Resource

__all__ = ["ALLOW", "ANY_HOST", "AlterUsers", "CreateAcls", "DeleteAcls", "coded", "grant_of"]

ANY_HOST = "*"
ALLOW = 3
_LITERAL, _PREFIXED = 3, 4
_RESOURCES: dict[Resource, int] = {"topic": 2, "group": 3, "transactional-id": 5}
_OPERATIONS: dict[Operation, int] = {
    "Read": 3,
    "Write": 4,
    "Create": 5,
    "Delete": 6,
    "Alter": 7,
    "Describe": 8,
    "DescribeConfigs": 10,
    "AlterConfigs": 11,
}
_RESOURCE_NAMES = {code: name for name, code in _RESOURCES.items()}
_OPERATION_NAMES = {code: name for name, code in _OPERATIONS.items()}

_SCRAM_SHA_512 = 2
_ITERATIONS = 8192
_SALT_BYTES = 24


def coded(grant: Grant, principal: str) -> tuple[Any, ...]:
    """A grant to ``principal`` (``User:name``), from any host, as CreateAcls and DeleteAcls take it."""
    pattern = _PREFIXED if grant.prefixed else _LITERAL
    resource, operation = _RESOURCES[grant.resource], _OPERATIONS[grant.operation]
    return (resource, grant.name, pattern, principal, ANY_HOST, operation, ALLOW)


def grant_of(resource: int, name: str, pattern: int, operation: int, permission: int) -> Grant | None:
    """The grant that a described ACL is; None for one of a kind that easel never makes."""
    if resource not in _RESOURCE_NAMES or operation not in _OPERATION_NAMES or permission != ALLOW:
        return None
    return Grant(_RESOURCE_NAMES[resource], name, _OPERATION_NAMES[operation], pattern == _PREFIXED)


class CreateAcls(Request[CreateAclsRequest_v1]):  # type: ignore[misc]
    """All ACLs in one request; aiokafka's own takes one."""

    API_KEY = 30

    def __init__(self, acls: Sequence[tuple[Any, ...]]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class(list(self._acls))


class DeleteAcls(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]
    """All filters in one request."""

    API_KEY = 31

    def __init__(self, filters: Sequence[tuple[Any, ...]]) -> None:
        self._filters = filters

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        return request_struct_class(list(self._filters))


class _AlterUsersResponse(Response):  # type: ignore[misc]
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterUsers(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = _AlterUsersResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterUsers(Request[_AlterUsers]):  # type: ignore[misc]
    """Sets or removes SCRAM-SHA-512 users. The password itself never goes over the wire."""

    API_KEY = 51

    def __init__(self, *, put: Iterable[tuple[str, str]] = (), drop: Iterable[str] = ()) -> None:
        self._put = [_salted(name, password) for name, password in put]
        self._drop: list[tuple[str, int, dict[int, bytes]]] = [(name, _SCRAM_SHA_512, {}) for name in drop]

    def build(self, request_struct_class: type[_AlterUsers]) -> _AlterUsers:
        return request_struct_class(self._drop, self._put, {})


def _salted(name: str, password: str) -> tuple[Any, ...]:
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return (name, _SCRAM_SHA_512, _ITERATIONS, salt, salted, {})

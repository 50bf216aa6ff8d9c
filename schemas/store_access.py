"""What each role may do in the object store, as S3 policies: any store that reads AWS's policy language takes them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from schemas.outputs import tenant_prefix
from schemas.sources import source_prefix

__all__ = ["STORE_ROLES", "StoreRole", "policy_of", "tenant_policy"]

StoreRole = Literal["worker", "api", "operator"]
"""Admission, billing and webhooks have no business in the store."""
STORE_ROLES: tuple[StoreRole, ...] = get_args(StoreRole)

_OUTPUTS, _SOURCES, _LOGINS = "outputs/", "sources/", "logins/"


def policy_of(role: StoreRole, bucket: str) -> dict[str, Any]:
    """The policy document of a role of the installation. The bucket itself is made by the operator."""
    whole = _statement(_bucket(bucket), "s3:ListBucket", "s3:GetBucketLocation")
    if role == "worker":
        made = _statement(_objects(bucket, _OUTPUTS), "s3:PutObject", "s3:GetObject", "s3:DeleteObject")
        return _document(whole, made, _statement(_objects(bucket, _SOURCES), "s3:GetObject"))
    if role == "api":
        given, logins = (
            _statement(_objects(bucket, prefix), "s3:PutObject", "s3:GetObject") for prefix in (_SOURCES, _LOGINS)
        )
        return _document(whole, given, logins, _statement(_objects(bucket, _OUTPUTS), "s3:GetObject"))
    return _document({"Effect": "Allow", "Action": ["s3:*"], "Resource": [_bucket(bucket), _objects(bucket, "")]})


def tenant_policy(bucket: str, tenant: str) -> dict[str, Any]:
    """For a tenant's own program: it gives pictures to be made from, and fetches those that were made for it."""
    given, made = source_prefix(tenant), tenant_prefix(tenant)
    return _document(
        _statement(_objects(bucket, given), "s3:PutObject", "s3:GetObject"),
        _statement(_objects(bucket, made), "s3:GetObject"),
        {
            **_statement(_bucket(bucket), "s3:ListBucket"),
            "Condition": {"StringLike": {"s3:prefix": [f"{given}*", f"{made}*"]}},
        },
    )


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _statement(resource: str, *actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": [resource]}


def _bucket(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def _objects(bucket: str, prefix: str) -> str:
    return f"arn:aws:s3:::{bucket}/{prefix}*"

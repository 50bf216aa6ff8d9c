"""What ``easel up --secure`` adds: a user for each role and tenant, and the settings by which each signs in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from ops.cli.installation import role_file, write_env
from ops.local.broker_security import ADMIN
from ops.local.stack import Endpoints
from ops.local.users import Users, tenant_user
from schemas.connection import KafkaSettings, StoreSettings
from schemas.tenants import load_tenants
from schemas.topics import Topics

__all__ = ["OPERATOR", "provide_users", "secure_environment"]

OPERATOR = "operator"
"""As whom commands sign in that are not a service's."""


def secure_environment(directory: Path, endpoints: Endpoints) -> dict[str, str]:
    """The settings by which a command reaches a secure stack as its operator; none for another."""
    if endpoints.ca_file is None:
        return {}
    return {
        "EASEL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "EASEL_KAFKA_CA_FILE": str(endpoints.ca_file),
        "EASEL_STORE_SECURE": "true",
        "EASEL_STORE_CA_FILE": str(endpoints.ca_file),
        **Users(directory).environment(OPERATOR),
    }


def provide_users(directory: Path, endpoints: Endpoints, variables: Mapping[str, str]) -> list[str]:
    """Make the users of a secure stack, and a file of settings for each beside ``env``. Returns their names.

    ``variables``: those of the ``env`` file.
    """
    tenants = {tenant.id: tenant.own_topic for tenant in load_tenants(directory / "tenants.yaml").tenants.values()}
    users = Users(directory)
    topics = Topics(variables.get("EASEL_KAFKA_PREFIX", KafkaSettings().prefix))
    bucket = variables.get("EASEL_STORE_BUCKET", StoreSettings().bucket)
    asyncio.run(users.provide(endpoints, topics=topics, bucket=bucket, tenants=tenants))
    for user in users.names(()):
        write_env(role_file(directory, user), users.environment(user))
    write_env(role_file(directory, ADMIN), _as_admin(endpoints))
    reached = {name: value for name, value in variables.items() if name.startswith(("EASEL_KAFKA_", "EASEL_STORE_"))}
    for tenant, own_topic in tenants.items():
        signs = directory.resolve() / "keys" / f"{tenant}-1.key"
        own = {"EASEL_TENANT": tenant, "EASEL_OWN_TOPIC": str(own_topic).lower()}
        if signs.exists():
            own |= {"EASEL_KID": signs.stem, "EASEL_KEY_FILE": str(signs)}
        write_env(
            role_file(directory, tenant_user(tenant)), {**reached, **users.environment(tenant_user(tenant)), **own}
        )
    return users.names(tenants)


def _as_admin(endpoints: Endpoints) -> dict[str, str]:
    admin = endpoints.admin
    if admin is None:
        return {}
    return {
        "EASEL_KAFKA_BOOTSTRAP_SERVERS": admin.bootstrap_servers,
        "EASEL_KAFKA_SECURITY_PROTOCOL": admin.security_protocol,
        "EASEL_KAFKA_CERT_FILE": str(admin.cert_file),
        "EASEL_KAFKA_KEY_FILE": str(admin.key_file),
    }

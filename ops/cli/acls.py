"""``easel topics acls``: what each role needs on the cluster, printed or given."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import groupby
from typing import Annotated

import typer

from ops.cli.installation import role_settings, settings_of_installation
from ops.cli.terminal import CommandError, ExitCode, err, out, print_json
from ops.local.broker_security import ADMIN
from ops.local.users import tenant_user
from schemas.access import ROLES, TENANT_ROLES, Grant, grants, tenant_grants
from schemas.tenants import load_tenants
from schemas.topics import Topics
from transport.access import allow, allowed, disallow

__all__ = ["acls", "command_lines", "rights_of_all"]

_ALL = [*ROLES, *TENANT_ROLES]


def acls(
    role: Annotated[str | None, typer.Argument(help=f"One role alone: {', '.join(_ALL)}.", show_default=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose, of a subscriber.", show_default=False)] = None,
    user: Annotated[
        str | None, typer.Option(help="The Kafka user (default: the role's own name).", show_default=False)
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Give the rights now, as a user who may alter ACLs.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the rights of one role from its user now.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of lines for kafka-acls.sh.")] = False,
) -> None:
    """Say what each role may do on the cluster and no more, as lines for kafka-acls.sh, or give it.

    Without a role: those of every role, and of a subscriber for each tenant with a topic of its own. --apply
    changes nothing that is there; in a secure local stack it signs in as the broker's admin.
    """
    if apply and revoke:
        raise CommandError("--apply and --revoke at once", "say one of them", code=ExitCode.USAGE)
    if (user or revoke) and role is None:
        raise CommandError("no role", f"name one of {', '.join(_ALL)}", code=ExitCode.USAGE)
    found = settings_of_installation()
    topics = Topics(found.kafka.prefix)
    if role is None:
        rights = rights_of_all(topics, load_tenants(found.tenants).own_topics())
    else:
        rights = {user or _user_of(role, tenant): _grants_of(role, tenant, topics)}
    if apply:
        asyncio.run(allow(role_settings(ADMIN).kafka, rights))
        err.print(f"given to {', '.join(rights)}", markup=False)
    elif revoke:
        [(whose, taken)] = rights.items()
        asyncio.run(_take(whose, taken))
        err.print(f"taken from {whose}", markup=False)
    elif as_json:
        print_json([{"user": whose, **asdict(grant)} for whose, several in rights.items() for grant in several])
    else:
        for line in command_lines(rights):
            out.print(line, markup=False, soft_wrap=True)


def rights_of_all(topics: Topics, own_topics: Iterable[str]) -> dict[str, list[Grant]]:
    """User → what it needs, under the users' usual names."""
    rights: dict[str, list[Grant]] = {role: grants(role, topics) for role in ROLES}
    return rights | {tenant_user(tenant): tenant_grants("subscriber", topics, tenant) for tenant in own_topics}


def command_lines(rights: dict[str, list[Grant]]) -> list[str]:
    """One line for each user and resource: Kafka's own tool takes several operations at once."""
    lines: list[str] = []
    for user, several in rights.items():
        for resource, same in groupby(several, key=lambda grant: replace(grant, operation="Read")):
            operations = " ".join(f"--operation {grant.operation}" for grant in same)
            pattern = " --resource-pattern-type prefixed" if resource.prefixed else ""
            lines.append(
                'kafka-acls.sh --bootstrap-server "$BROKERS" --command-config admin.properties --add'
                f" --allow-principal User:{user} {operations} --{resource.resource} {resource.name}{pattern}"
            )
    return lines


def _user_of(role: str, tenant: str | None) -> str:
    return tenant_user(tenant) if role in TENANT_ROLES and tenant else role


def _grants_of(role: str, tenant: str | None, topics: Topics) -> list[Grant]:
    for known in ROLES:
        if role == known:
            return grants(known, topics)
    for own in TENANT_ROLES:
        if role == own:
            if tenant is None:
                raise CommandError(f"whose {role}?", "name the tenant: --tenant", code=ExitCode.USAGE)
            return tenant_grants(own, topics, tenant)
    raise CommandError(f"there is no role {role!r}", f"there are {', '.join(_ALL)}", code=ExitCode.USAGE)


async def _take(user: str, grants_: Iterable[Grant]) -> None:
    kafka = role_settings(ADMIN).kafka
    await disallow(kafka, user, set(grants_) & await allowed(kafka, user))

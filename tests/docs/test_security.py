"""The tables of docs/security.md are what the code gives."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.access import ROLES, Grant, Resource, grants, tenant_grants
from schemas.topics import Topics
from tests.docs.pages import read

TOPICS = Topics("easel")
TENANT = "<tenant>"
RIGHTS: dict[str, list[Grant]] = {
    **{role: grants(role, TOPICS) for role in ROLES},
    "subscriber": tenant_grants("subscriber", TOPICS, TENANT),
}
LETTERS = {"Read": "R", "Write": "W", "Create": "C", "AlterConfigs": "C", "Alter": "C", "DescribeConfigs": "D"}


def letters(role: str, topic: str) -> str:
    held = {
        LETTERS[grant.operation]
        for grant in RIGHTS[role]
        if grant.resource == "topic"
        and grant.operation in LETTERS
        and (topic.startswith(grant.name) if grant.prefixed else topic == grant.name)
    }
    return "".join(letter for letter in "RWCD" if letter in held) or "–"


def topics_table() -> Iterator[str]:
    yield f"| topic | {' | '.join(RIGHTS)} |"
    yield "|---" * (len(RIGHTS) + 1) + "|"
    specs = TOPICS.specs(partitions=1, jobs_partitions=1, replication=1, pools=["<pool>"], own_topics=[TENANT])
    for spec in specs:
        yield f"| `{spec.name}` | {' | '.join(letters(role, spec.name) for role in RIGHTS)} |"


def named(role: str, resource: Resource) -> str:
    found = dict.fromkeys(
        f"`{grant.name}`" + "*" * grant.prefixed for grant in RIGHTS[role] if grant.resource == resource
    )
    return ", ".join(found) or "–"


def others_table() -> Iterator[str]:
    for role in RIGHTS:
        yield f"| {role} | {named(role, 'group')} | {named(role, 'transactional-id')} |"


def test_who_may_do_what_with_which_topic() -> None:
    assert "\n".join(topics_table()) in read("docs/security.md")


def test_whose_groups_and_transactions_are_whose() -> None:
    assert "\n".join(others_table()) in read("docs/security.md")

"""Was each answer given by the ``tenants.yaml`` that it names, and do budgets hold while the file changes? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ops.chaos.journal import TenantRules
from ops.chaos.verify_facts import Facts, Said, Violation

__all__ = ["check_rules"]

_SUSPENDED = "tenant_suspended"


def check_rules(facts: Facts, rules: Mapping[int, Mapping[str, TenantRules]]) -> Iterator[Violation]:
    """Every rule about rules. ``rules``: what each version of the file said of each tenant."""
    newest: dict[int, int] = {}
    by: dict[tuple[str, str], TenantRules] = {}
    for event in facts.results:
        if event.note is None:
            continue
        version, about = event.note.tenants_version, "/".join(event.request)
        if version < newest.get(event.partition, 0):
            found = f"{event.kind} by version {version}, after answers by version {newest[event.partition]}"
            yield Violation("rules", about, found)
        newest[event.partition] = max(version, newest.get(event.partition, 0))
        said = rules.get(version, {}).get(event.tenant)
        if said is None:
            yield Violation("rules", about, f"{event.kind} by version {version}, which was never written")
            continue
        if event.kind == "generation.accepted":
            by[event.request] = said
        if said.suspended != _told_suspended(event, said):
            yield Violation("rules", about, f"{event.kind}, and suspended is {said.suspended} by version {version}")
    for entry in facts.usage:
        if entry.kind != "usage.held" or entry.request not in by:
            continue
        limit, day = by[entry.request].day_milliunits, entry.content["day"]
        used = int(day["settled"]) + int(day["outstanding"])
        if day["limit"] != limit:
            found = f"held under a limit of {day['limit']} a day, which is {limit} by the version that it names"
            yield Violation("rules", "/".join(entry.request), found)
        elif limit is not None and used > limit:
            found = f"{used} milli-units of {limit} a day are used with it"
            yield Violation("units", "/".join(entry.request), found, used - limit)


def _told_suspended(event: Said, said: TenantRules) -> bool:
    """Whether the answer is one to a suspended tenant; the same as it should be where it could be to either."""
    code = (event.content.get("error") or {}).get("code")
    if event.kind in ("generation.accepted", "generation.priced") or code == _SUSPENDED:
        return code == _SUSPENDED
    return said.suspended

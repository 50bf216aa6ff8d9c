"""``tenants.yaml`` while it changes: limits fall and rise, a tenant is suspended, and all is as it was again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.chaos.installation import TENANTS, ChaosTenant, Installation
from ops.chaos.journal import Journal, RulesWritten, TenantRules
from ops.chaos.schedule import Action

__all__ = ["ChangingRules"]

# Less than most have used of their day already: what is held and settled stays, and nothing more is accepted.
_LOWERED: Mapping[str, Any] = {
    "requests_per_minute": 300,
    "burst": 5,
    "queued": 5,
    "running": 2,
    "units_per_day": "0.5",
}


class ChangingRules:
    """Writes each change as a new version, and notes in the journal what it says before anybody can read it."""

    def __init__(self, installation: Installation, journal: Journal) -> None:
        self._installation = installation
        self._journal = journal
        self._version = 1
        self._changes: dict[str, dict[str, Any]] = {}
        self._note()

    def change(self, victim: int, action: Action) -> None:
        """From now on the file says otherwise of the tenant of this number."""
        tenant = TENANTS[victim]
        match action:
            case "lower":
                change: dict[str, Any] = {"limits": dict(_LOWERED)}
            case "raise":
                change = {"limits": {}}
            case _:
                # What waits is let be for one, and canceled for the next.
                change = {"status": "suspended", "when_suspended": ("keep", "cancel")[victim % 2]}
        self._changes[tenant.id] = change
        self._write()

    def restore(self, victim: int) -> None:
        """As it was."""
        del self._changes[TENANTS[victim].id]
        self._write()

    def _write(self) -> None:
        self._version += 1
        self._note()
        self._installation.write_tenants(self._version, self._changes)

    def _note(self) -> None:
        rules = {tenant.id: self._rules_of(tenant) for tenant in TENANTS}
        self._journal.note(RulesWritten(version=self._version, tenants=rules))

    def _rules_of(self, tenant: ChaosTenant) -> TenantRules:
        entry = self._installation.entry_of(tenant) | self._changes.get(tenant.id, {})
        units = entry["limits"].get("units_per_day")
        return TenantRules(
            suspended=entry.get("status") == "suspended",
            day_milliunits=None if units is None else round(float(units) * 1000),
        )

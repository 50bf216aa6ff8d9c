"""Which refresh token of a sign-in is the newest, kept in the object store, so that all instances of the API agree."""

from __future__ import annotations

import json

from transport.errors import NotFound
from transport.objects import ObjectStore

__all__ = ["Families"]

_REVOKED = -1


class Families:
    """One small object for each sign-in that was ever refreshed or revoked; ``logins/`` may be emptied of those older
    than 30 days, which is as long as a refresh token lives."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def advance(self, tenant: str, family: str, number: int) -> bool:
        """Spend the refresh token ``number`` of a family. False when it was spent before, or all were revoked.

        One that is spent twice was copied: then nobody can tell who is who, and the whole family ends. Raises
        ``TransportError`` when the store does not answer.
        """
        newest = await self._newest(tenant, family)
        if newest != number:
            if newest != _REVOKED:
                await self.revoke(tenant, family)
            return False
        await self._write(tenant, family, number + 1)
        return True

    async def revoke(self, tenant: str, family: str) -> None:
        """No refresh token of the family is taken any more."""
        await self._write(tenant, family, _REVOKED)

    async def _newest(self, tenant: str, family: str) -> int:
        try:
            return int(json.loads(await self._objects.get(_key(tenant, family)))["newest"])
        except NotFound:
            return 0

    async def _write(self, tenant: str, family: str, newest: int) -> None:
        data = json.dumps({"newest": newest}).encode()
        await self._objects.put(_key(tenant, family), data, content_type="application/json")


def _key(tenant: str, family: str) -> str:
    return f"logins/{tenant}/{family}.json"

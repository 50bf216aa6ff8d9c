"""Which refresh tokens of a sign-in are spent, kept in the object store, so that all instances of the API agree."""

from __future__ import annotations

import asyncio

from transport.objects import ObjectStore

__all__ = ["Families"]

_REVOKED = "revoked"


class Families:
    """An empty object for each refresh token that was spent, and for each sign-in that was revoked; ``logins/`` may be
    emptied of those older than 30 days, which is as long as a refresh token lives."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def advance(self, tenant: str, family: str, number: int) -> bool:
        """Spend the refresh token ``number`` of a family. False when it was spent before, or all were revoked.

        One that is spent twice was copied: then nobody can tell who is who, and the whole family ends. Raises
        ``TransportError`` when the store does not answer.
        """
        revoked, spent = await asyncio.gather(
            self._objects.exists(_key(tenant, family, _REVOKED)), self._objects.exists(_key(tenant, family, number))
        )
        if revoked:
            return False
        # Of two at the same moment one writes it.
        if spent or not await self._write(tenant, family, number):
            await self.revoke(tenant, family)
            return False
        return True

    async def revoke(self, tenant: str, family: str) -> None:
        """No refresh token of the family is taken any more."""
        await self._write(tenant, family, _REVOKED)

    async def _write(self, tenant: str, family: str, name: str | int) -> bool:
        return await self._objects.put_new(_key(tenant, family, name), b"", content_type="text/plain")


def _key(tenant: str, family: str, name: str | int) -> str:
    return f"logins/{tenant}/{family}/{name}"

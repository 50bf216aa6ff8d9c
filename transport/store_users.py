"""Users of a MinIO store and what they may do, by its administrative interface. Other stores have one of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.minioadmin import MinioAdmin
from urllib3.exceptions import HTTPError

from schemas.connection import StoreSettings
from transport.errors import Misconfigured, Unavailable

__all__ = ["StoreUsers"]

_CALL_S = 10.0


class StoreUsers:
    """Makes and removes users; ``settings`` are those of the store's root, or of another admin.

    All methods raise Unavailable when the store does not answer within 10 s, and Misconfigured when it refuses.
    """

    def __init__(self, settings: StoreSettings) -> None:
        if settings.access_key is None or settings.secret_key is None:
            raise Misconfigured("no keys for the store", "name those of its admin", where=settings.endpoint)
        self._where = f"store at {settings.endpoint}"
        self._admin = MinioAdmin(
            endpoint=settings.endpoint,
            credentials=StaticProvider(settings.access_key.get_secret_value(), settings.secret_key.get_secret_value()),
            region=settings.region,
            secure=settings.secure,
            http_client=urllib3.PoolManager(
                timeout=_CALL_S / 2,
                retries=urllib3.Retry(total=1),
                ca_certs=settings.ca_file and str(settings.ca_file),
            ),
        )

    async def put_policy(self, name: str, document: Mapping[str, Any]) -> None:
        """Makes a policy, or changes one; whoever has it is held to it at once."""
        await self._call(f"making the policy {name}", lambda: self._admin.policy_add(name, policy=dict(document)))

    async def put_user(self, access_key: str, secret_key: str, policy: str) -> None:
        """Makes a user with this policy and no other, or gives one another secret."""
        await self._call(f"making the user {access_key}", lambda: self._admin.user_add(access_key, secret_key))
        await self._call(f"giving {access_key} its policy", lambda: self._admin.policy_set(policy, user=access_key))

    async def drop_user(self, access_key: str) -> None:
        """Removes a user: its keys are refused from now on."""
        await self._call(f"removing the user {access_key}", lambda: self._admin.user_remove(access_key))

    async def _call(self, doing: str, function: Callable[[], str]) -> None:
        try:
            async with asyncio.timeout(_CALL_S):
                await asyncio.to_thread(function)
        except (TimeoutError, HTTPError, OSError) as err:
            raise Unavailable(
                f"{doing}: {type(err).__name__}", "is the store up and reachable?", where=self._where
            ) from err
        except MinioAdminException as err:
            raise Misconfigured(
                f"{doing}: the store refuses it", "sign in with the keys of the store's admin", where=self._where
            ) from err

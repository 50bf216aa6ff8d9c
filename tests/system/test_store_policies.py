"""What each user of the store may do, tried on a real one: each thing that is forbidden is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from schemas.store_access import policy_of
from tests.secure_stack import SecureStack, Site
from transport.errors import Misconfigured, NotFound
from transport.objects import ObjectStore
from transport.store_users import StoreUsers

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

KEYS = ("outputs/acme/a", "outputs/bolt/a", "sources/acme/a", "sources/bolt/a")


@pytest.fixture(scope="module")
def site(secure_stack: SecureStack) -> Site:
    site = asyncio.run(secure_stack.site({"acme": True, "bolt": True}))
    asyncio.run(_fill(site))
    return site


async def _fill(site: Site) -> None:
    async with ObjectStore(site.store("operator")) as store:
        await store.ensure_bucket()
        for key in KEYS:
            await store.put(key, b"content", content_type="image/png")


@pytest.mark.parametrize(
    ("user", "reads", "writes"),
    [
        ("worker", {*KEYS}, {"outputs/"}),
        ("api", {*KEYS}, {"sources/", "logins/"}),
        ("tenant.acme", {"outputs/acme/a", "sources/acme/a"}, {"sources/acme/"}),
    ],
)
async def test_who_may_do_what(site: Site, user: str, reads: set[str], writes: set[str]) -> None:
    places = ("outputs/acme/", "outputs/bolt/", "sources/acme/", "sources/bolt/", "logins/", "elsewhere/")
    async with ObjectStore(site.store(user)) as store:
        readable = {key for key in KEYS if await _accepted(store.get(key))}
        writable = {
            place for place in places if await _accepted(store.put(f"{place}b", b"b", content_type="image/png"))
        }
    assert readable == reads
    assert writable == {place for place in places if place.startswith(tuple(writes))}


async def test_only_the_worker_deletes(site: Site) -> None:
    for user, may in (("api", False), ("tenant.acme", False), ("worker", True)):
        async with ObjectStore(site.store(user)) as store:
            assert await _accepted(store.delete("outputs/acme/gone")) is may, user


async def test_what_is_missing_is_said_to_be(site: Site) -> None:
    """A source is looked for before it is put: a store that answers "forbidden" would make that an error."""
    for user, key in (
        ("worker", "outputs/acme/none"),
        ("api", "sources/acme/none"),
        ("tenant.acme", "sources/acme/none"),
    ):
        async with ObjectStore(site.store(user)) as store:
            with pytest.raises(NotFound):
                await store.stat(key)


async def test_users_are_the_admins_to_make(site: Site) -> None:
    for user in ("worker", "operator"):
        with pytest.raises(Misconfigured):
            await StoreUsers(site.store(user)).put_policy("mine", policy_of("operator", site.bucket))


async def _accepted(call: Awaitable[object]) -> bool:
    try:
        await call
    except Misconfigured:
        return False
    return True

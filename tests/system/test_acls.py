"""What each user of a secure cluster may do, tried on a real broker: each thing that is forbidden is refused."""

from __future__ import annotations

import asyncio
import functools
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import aiokafka
import aiokafka.errors as kafka
import pytest
import pytest_asyncio
from aiokafka.protocol.fetch import FetchRequest

from schemas.access import grants
from schemas.topics import Topics
from tests.secure_stack import SecureStack, Site
from transport.access import allow, allowed, disallow, drop_users, put_users
from transport.admin import admin_client
from transport.errors import Misconfigured, TransportError
from transport.kafka import Publisher, client_options
from transport.records import Outgoing
from transport.topics import ensure_topics, grow_topics
from transport.transactions import FencedProducer

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    # A client that is refused leaves its connection to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.asyncio(loop_scope="module"),
]

USERS = ("admission", "worker", "webhooks", "api", "billing", "operator", "tenant.acme", "tenant.bolt")
EVERY_TENANT = {"tenant.acme", "tenant.bolt"}

# Written by hand, and not taken from the code that gives the rights.
WRITERS = {
    "requests": {"api", "operator", *EVERY_TENANT},
    "rerouted": {"admission", "operator"},
    "outcomes": {"admission", "worker"},
    "ledger": {"admission", "operator"},
    "jobs.default": {"admission"},
    "results": {"admission", "operator"},
    "results.acme": {"admission", "operator"},
    "results.bolt": {"admission", "operator"},
    "usage": {"admission", "operator"},
    "progress": {"worker"},
    "control": {"admission", "operator"},
    "fleet": {"admission", "worker"},
    "dead-letters": {"admission", "worker", "webhooks", "operator"},
    "webhooks": {"webhooks"},
    "redeliveries": {"operator"},
}
READERS = {
    "requests": {"admission", "operator"},
    "rerouted": {"admission", "operator"},
    "outcomes": {"admission", "operator"},
    "ledger": {"admission", "operator"},
    "jobs.default": {"worker", "operator"},
    "results": {"api", "webhooks", "operator"},
    "results.acme": {"tenant.acme", "operator"},
    "results.bolt": {"tenant.bolt", "operator"},
    "usage": {"billing", "operator"},
    "progress": {"api", "operator"},
    "control": {"worker", "operator"},
    "fleet": {"admission", "worker", "api", "operator"},
    "dead-letters": {"operator"},
    "webhooks": {"webhooks", "operator"},
    "redeliveries": {"webhooks", "operator"},
}
GROUPS = {
    "admission": {"admission", "operator"},
    "generation.default": {"worker", "operator"},
    "webhooks": {"webhooks", "operator"},
    "billing": {"billing", "operator"},
    "subscriber.acme": {"tenant.acme", "operator"},
    "subscriber.acme.shop": {"tenant.acme", "operator"},
    "subscriber.acmes": {"operator"},
    "subscriber.bolt": {"tenant.bolt", "operator"},
}
TRANSACTIONS = {
    "admission-0": {"admission", "operator"},
    "webhooks-0": {"webhooks"},
    "dead-letters-replay": {"operator"},
    "another": set[str](),
}

_CALL_S = 10.0
_LOOK_MS = 300


@pytest.fixture(scope="module")
def site(secure_stack: SecureStack) -> Site:
    site = asyncio.run(secure_stack.site({"acme": True, "bolt": True}))
    specs = Topics(site.prefix).specs(
        partitions=1, jobs_partitions=1, replication=1, pools=["default"], own_topics=["acme", "bolt"]
    )
    asyncio.run(ensure_topics(site.kafka("operator"), specs))
    asyncio.run(_fill(site))
    return site


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def hung_up() -> AsyncIterator[None]:
    yield
    # TLS connections take some turns of their loop to close.
    await asyncio.sleep(0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def _fill(site: Site) -> None:
    async with Publisher(site.admin, client_id="test") as publisher:
        for name in WRITERS:
            await publisher.publish(Outgoing(f"{site.prefix}.{name}", b"{}", b"key"))


async def test_the_tables_name_every_topic(site: Site) -> None:
    specs = Topics("p").specs(
        partitions=1, jobs_partitions=1, replication=1, pools=["default"], own_topics=["acme", "bolt"]
    )
    assert {spec.name for spec in specs} == {f"p.{name}" for name in WRITERS} == {f"p.{name}" for name in READERS}


@pytest.mark.parametrize("user", USERS)
async def test_who_may_write_what(site: Site, user: str) -> None:
    assert await _permitted(user, WRITERS, functools.partial(_write, site)) == _of(user, WRITERS)


@pytest.mark.parametrize("user", USERS)
async def test_who_may_read_what(site: Site, user: str) -> None:
    assert await _permitted(user, READERS, functools.partial(_read, site)) == _of(user, READERS)


@pytest.mark.parametrize("user", USERS)
async def test_who_may_be_in_which_group(site: Site, user: str) -> None:
    assert await _permitted(user, GROUPS, functools.partial(_join, site)) == _of(user, GROUPS)


@pytest.mark.parametrize("user", USERS)
async def test_whose_transactions_are_whose(site: Site, user: str) -> None:
    assert await _permitted(user, TRANSACTIONS, functools.partial(_transact, site)) == _of(user, TRANSACTIONS)


@pytest.mark.parametrize("user", sorted(set(USERS) - {"operator"}))
async def test_only_the_operator_makes_topics_and_nobody_rights(site: Site, user: str) -> None:
    settings = site.kafka(user)
    [spec] = [
        spec
        for spec in Topics(site.prefix).specs(partitions=1, jobs_partitions=1, replication=1, pools=["mine"])
        if spec.name.endswith("jobs.mine")
    ]
    for forbidden in (
        ensure_topics(settings, [spec]),
        grow_topics(settings, {f"{site.prefix}.fleet": 2}),
        allow(settings, {user: grants("operator", Topics(site.prefix))}),
        put_users(settings, {"another": "password-of-another"}),
    ):
        with pytest.raises((Misconfigured, TransportError)):
            await asyncio.wait_for(forbidden, _CALL_S)


async def test_the_operator_gives_no_rights_either(site: Site) -> None:
    with pytest.raises(Misconfigured, match="refuses to make ACLs"):
        await allow(site.kafka("operator"), {"operator": grants("worker", Topics(site.prefix))})
    with pytest.raises(Misconfigured, match="refuses to change the user"):
        await put_users(site.kafka("operator"), {"another": "password-of-another"})


async def test_rights_are_taken_again(site: Site) -> None:
    topics = Topics(site.prefix)
    await put_users(site.admin, {"passing": "password-of-passing"})
    assert await allowed(site.admin, "passing") == set()
    await allow(site.admin, {"passing": grants("worker", topics)})
    assert await allowed(site.admin, "passing") == set(grants("worker", topics))
    await disallow(site.admin, "passing", grants("worker", topics))
    assert await allowed(site.admin, "passing") == set()
    await drop_users(site.admin, ["passing"])
    with pytest.raises(TransportError):
        await ensure_topics(site.kafka("passing", password="password-of-passing"), [], timeout_s=5)


def _of(user: str, table: dict[str, set[str]]) -> set[str]:
    return {name for name, users in table.items() if user in users}


async def _permitted(user: str, names: Iterable[str], attempt: Callable[[str, str], Awaitable[None]]) -> set[str]:
    async def tried(name: str) -> str | None:
        try:
            await asyncio.wait_for(attempt(user, name), _CALL_S)
        except (
            kafka.TopicAuthorizationFailedError,
            kafka.GroupAuthorizationFailedError,
            kafka.TransactionalIdAuthorizationFailed,
            Misconfigured,
        ):
            return None
        return name

    return {name for name in await asyncio.gather(*map(tried, names)) if name is not None}


async def _write(site: Site, user: str, name: str) -> None:
    # Without idempotence, which would be refused before the topic is.
    producer = aiokafka.AIOKafkaProducer(**client_options(site.kafka(user)), enable_idempotence=False)
    try:
        await producer.start()
        await producer.send_and_wait(f"{site.prefix}.{name}", b"{}", key=b"key")
    finally:
        await producer.stop()


async def _read(site: Site, user: str, name: str) -> None:
    # By hand: the client would wait for ever for a topic that it may not even see.
    request = FetchRequest(100, 1, 1_000_000, 0, [(f"{site.prefix}.{name}", [(0, 0, 1_000_000)])])
    async with admin_client(site.kafka(user)) as client:
        response = await client._send_request(request)
    [(_, [(_, code, *_, content)])] = response.topics
    if code:
        raise kafka.for_code(code)
    assert content


async def _join(site: Site, user: str, name: str) -> None:
    group = f"{site.prefix}.{name}"
    own = next(topic for topic in READERS if user in READERS[topic]) if _of(user, READERS) else "results"
    consumer = aiokafka.AIOKafkaConsumer(
        f"{site.prefix}.{own}", **client_options(site.kafka(user)), group_id=group, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        while not consumer.assignment():
            await consumer.getmany(timeout_ms=_LOOK_MS)
    finally:
        await consumer.stop()


async def _transact(site: Site, user: str, name: str) -> None:
    producer = FencedProducer(site.kafka(user), transactional_id=f"{site.prefix}-{name}")
    try:
        await producer.start()
    finally:
        await producer.close()

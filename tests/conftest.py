"""One real broker and one real object store for a whole test session; every test works under names of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from ops.local.stack import Stack
from schemas.connection import KafkaSettings, StoreSettings
from schemas.settings import Settings
from tests.secure_stack import SecureStack
from tests.stack import OwnBroker, kafka_settings, store_settings
from tests.tls_goodbyes import LoopPolicy
from transport.objects import ObjectStore

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Behind a script's & Ctrl-C is ignored, and so by all that is started from here; some of it is tested with one.
    signal.signal(signal.SIGINT, signal.default_int_handler)

asyncio.set_event_loop_policy(LoopPolicy())


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Stopped at the end of the session; its parts start when `kafka` or `store` is first asked for."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    yield stack
    stack.down()


@pytest.fixture(scope="session")
def secure_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureStack]:
    """A broker and a store with TLS and users, as `easel up --secure` has them; started by the first who asks."""
    stack = SecureStack(tmp_path_factory.mktemp("secure"))
    yield stack
    stack.down()


@pytest.fixture
def kafka(stack: Stack) -> KafkaSettings:
    """The broker, with a fresh prefix and P = J = 4; there are no topics yet."""
    stack.up("kafka")
    return kafka_settings(stack)


@pytest.fixture
def store(stack: Stack) -> StoreSettings:
    """The object store, with a fresh bucket that is there."""
    stack.up("store")
    settings = store_settings(stack)
    asyncio.run(_make_bucket(settings))
    return settings


@pytest.fixture
def settings(kafka: KafkaSettings, store: StoreSettings) -> Settings:
    return Settings(kafka=kafka, store=store)


@pytest.fixture
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """A broker for this test alone, running; the test may stop, kill and start it."""
    stack = Stack(tmp_path_factory.mktemp("broker"))
    stack.up("kafka")
    yield OwnBroker(stack, kafka_settings(stack))
    stack.down()


async def _make_bucket(settings: StoreSettings) -> None:
    async with ObjectStore(settings) as objects:
        await objects.ensure_bucket()

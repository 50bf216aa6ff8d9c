"""The proxy before the store: a client of ours meets what a fault wants it to meet."""

from __future__ import annotations

import time

import pytest

from ops.chaos.proxy import StoreProxy
from schemas.connection import StoreSettings
from transport.errors import Unavailable
from transport.objects import ObjectStore


async def test_it_relays_refuses_slows_and_is_well_again(store: StoreSettings) -> None:
    async with StoreProxy(store.endpoint) as proxy:
        through = store.model_copy(update={"endpoint": proxy.address, "timeout_s": 5.0})
        async with ObjectStore(through) as objects:
            content = bytes(range(256)) * 2_000
            await objects.put("a", content, content_type="image/png")
            assert await objects.get("a") == content
            proxy.turn("refuse")
            with pytest.raises(Unavailable):
                await objects.put("b", content, content_type="image/png")
            with pytest.raises(Unavailable):
                await objects.get("a")
            with pytest.raises(Unavailable):
                await objects.stat("a")
            proxy.turn("slow")
            began = time.monotonic()
            await objects.stat("a")
            assert time.monotonic() - began > 0.35
            proxy.turn("well")
            assert await objects.get("a") == content
        async with ObjectStore(store) as direct:
            assert not await direct.exists("b")

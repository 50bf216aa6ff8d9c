"""The main job, whole: a signed event goes in by the SDK, and a picture comes out that shows what was asked."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ops.tiny_model.reading import read
from ops.tiny_model.scenes import Scene
from ops.tiny_model.score import judge, novel_prompts
from producer_api import Client
from schemas.connection import StoreSettings
from schemas.events import Accepted, Succeeded
from schemas.settings import Settings
from tests.house import House
from tests.secure_stack import SecureStack, Site
from transport.objects import ObjectStore

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 6


@pytest.fixture
async def plain(settings: Settings, tmp_path: Path) -> AsyncIterator[House]:
    house = await House.build(settings, tmp_path, models=ROOT / "models.yaml")
    yield house
    house.close()


@pytest.fixture
async def secure(secure_stack: SecureStack, tmp_path: Path) -> AsyncIterator[tuple[House, Site]]:
    """The same where every process and client is a user who may do what it needs, and no more."""
    site = await secure_stack.site({"acme": True})
    async with ObjectStore(site.store("operator")) as objects:
        await objects.ensure_bucket()
    house = await House.build(
        site.settings("operator"), tmp_path, tenants=["acme"], models=ROOT / "models.yaml", own_topics=True
    )
    house.signed_in = {"admission": site.settings("admission"), "generation": site.settings("worker")}
    yield house, site
    house.close()


async def test_a_signed_event_becomes_the_picture_it_asks_for(plain: House) -> None:
    client = Client(tenant="acme", signer=plain.signer("acme"), kafka=plain.settings.kafka)
    await main_job(plain, client, plain.settings.store)


async def test_also_where_everybody_may_do_only_what_is_theirs(secure: tuple[House, Site]) -> None:
    house, site = secure
    as_tenant = site.kafka("tenant.acme")
    client = Client(tenant="acme", signer=house.signer("acme"), kafka=as_tenant, own_topic=True)
    await main_job(house, client, site.store("tenant.acme"))


async def main_job(house: House, client: Client, store: StoreSettings) -> None:
    await house.admission().ready()
    await house.worker().ready(within_s=90)
    asked: list[tuple[str, Scene]] = novel_prompts(PICTURES, seed=3)
    right = 0
    async with client, ObjectStore(store) as objects:
        handles = [await client.submit(prompt, model="easel-tiny", seed=n) for n, (prompt, _) in enumerate(asked)]
        for handle, (_, scene) in zip(handles, asked, strict=True):
            events = [event async for event in handle.events()]
            assert isinstance(events[0], Accepted)
            done = await handle.result(timeout_s=120)
            assert isinstance(done, Succeeded)
            (output,) = done.outputs
            stored = await objects.get(output.key)
            assert hashlib.sha256(stored).hexdigest() == output.sha256
            picture = Image.open(io.BytesIO(stored))
            provenance = json.loads(picture.info["easel"])
            assert provenance["request_id"] == handle.request_id
            assert provenance["seed"] == output.seed
            right += judge(scene, read(np.asarray(picture.convert("RGB")))).all
    # The model's own bar is higher and stands in its score; here one picture may be off.
    assert right >= PICTURES - 1
    await house.require_balance()

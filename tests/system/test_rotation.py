"""Every key is changed while requests come, and none of them is lost: the steps of docs/security.md, in their order."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ops.cli.material import make_api_key
from ops.local.ports import free_port
from producer_api.signed import build_request
from schemas.access import grants
from schemas.connection import KafkaSettings
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.settings import Settings
from schemas.signing import Signer
from schemas.store_access import policy_of
from tests.consumer.generation.harness import environment
from tests.house import House
from tests.secure_stack import SecureStack, Site
from tests.stage import Stage
from transport.access import allow, drop_users, put_users
from transport.errors import Misconfigured, TransportError
from transport.kafka import Publisher
from transport.objects import ObjectStore
from transport.store_users import StoreUsers

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    # A client that is refused leaves its connection to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

SHIM = "easel-api"
EVERY_S = 0.2
BATCH_S = 60.0
NEW = "-2"


@dataclass
class Driver:
    """Publishes as the tenant and asks over HTTP for as long as the test lasts; each way may be changed at any time."""

    house: House
    kafka: KafkaSettings
    signer: Signer
    api_key: str
    url: str
    ids: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish(stop))
            group.create_task(self._ask(stop))

    def event(self, signer: Signer) -> Any:
        """A signed request, by its id and as a record."""
        id_ = new_id()
        request = GenerationRequest(prompt="a red circle", model="nothing")
        topics = self.house.topics
        return id_, build_request(request, tenant="acme", signer=signer, topics=topics, request_id=id_)

    async def _publish(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            kafka = self.kafka
            async with Publisher(kafka, client_id="driver") as publisher:
                while not stop.is_set() and kafka is self.kafka:
                    id_, record = self.event(self.signer)
                    await publisher.publish(record, timeout_s=30)
                    self.ids.append(id_)
                    await asyncio.sleep(EVERY_S)

    async def _ask(self, stop: asyncio.Event) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            while not stop.is_set():
                body = {"prompt": "a red circle", "model": "nothing"}
                answer = await client.post(f"{self.url}/v1/generate", json=body)
                assert answer.status_code == 202, answer.text
                self.ids.append(answer.json()["id"])
                await asyncio.sleep(2 * EVERY_S)

    async def decided(self) -> None:
        """Wait until all that was asked so far has been accepted."""
        asked = set(self.ids)
        await self.house.until(lambda results: asked <= _ids(results, "generation.accepted"), within_s=BATCH_S)


def _ids(results: list[dict[str, Any]], kind: str) -> set[str]:
    return {one["request_id"] for one in results if one["kind"] == kind}


@dataclass
class Keys:
    """``tenants.yaml``, as its owner edits it."""

    house: House
    api_key_sha256: str
    tenant: dict[str, ed25519.Ed25519PrivateKey] = field(default_factory=dict)
    shim: dict[str, str] = field(default_factory=dict)
    version: int = 1

    async def apply(self, admission: Stage) -> None:
        """Edit the file, and wait until admission decides by it: a key that signs earlier is unknown."""
        self.write()
        in_force = f"not version {self.version}"
        await admission.until(lambda: admission.metric("easel_tenants_version") == self.version, BATCH_S, in_force)

    def write(self) -> None:
        self.version += 1
        keys = [
            {
                "kid": kid,
                "alg": "EdDSA",
                "public_key": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            }
            for kid, key in self.tenant.items()
        ]
        acme = {"id": "acme", "keys": keys, "api_keys": [{"id": "acme-api-1", "sha256": self.api_key_sha256}]}
        files = []
        for kid, secret in self.shim.items():
            file = self.house.folder / f"{kid}.secret"
            file.write_text(secret)
            file.chmod(0o600)
            files.append({"kid": kid, "alg": "HS256", "secret_file": file.name})
        content = {
            "version": self.version,
            "tenants": [acme],
            "issuers": [{"id": SHIM, "tenants": "*", "keys": files}],
        }
        part = self.house.folder / "tenants.part"
        part.write_text(json.dumps(content))
        part.replace(self.house.settings.tenants)

    def signer(self, kid: str) -> Signer:
        return Signer(kid, "EdDSA", self.tenant[kid], "acme", self.house.settings.installation)

    def shim_signer(self, kid: str) -> Signer:
        return Signer(kid, "HS256", self.shim[kid].encode(), SHIM, self.house.settings.installation)


@dataclass
class Scene:
    site: Site
    house: House
    keys: Keys
    driver: Driver

    def api(self, kid: str, settings: Settings) -> Stage:
        """The HTTP API, signing with this key."""
        port = free_port()
        files = {"models": self.house.settings.models, "tenants": self.house.settings.tenants}
        stage = Stage(
            "api",
            self.house.folder / f"api-{kid}.log",
            port,
            {
                **environment(settings.model_copy(update=files), port),
                "EASEL_TENANTS": str(self.house.settings.tenants),
                "EASEL_API_PORT": str(port),
                "EASEL_API_SIGNING_KID": kid,
                "EASEL_API_SIGNING_KEY": self.keys.shim[kid],
                "EASEL_API_STATE_FILE": str(self.house.folder / f"api-{kid}.sqlite"),
            },
            module="producer_api",
        )
        self.house.stages.append(stage)
        return stage.start()

    async def refused(self, signer: Signer) -> None:
        """What this key signs goes to the dead letters, and nobody answers."""
        before = len(await self.house.read(self.house.topics.dead_letters))
        _, record = self.driver.event(signer)
        await self.house.publish(record)
        async with asyncio.timeout(BATCH_S):
            while len(await self.house.read(self.house.topics.dead_letters)) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture
async def scene(secure_stack: SecureStack, tmp_path: Path) -> AsyncIterator[Scene]:
    site = await secure_stack.site({"acme": False})
    async with ObjectStore(site.store("operator")) as objects:
        await objects.ensure_bucket()
    house = await House.build(site.settings("operator"), tmp_path, tenants=["acme"])
    made = make_api_key()
    keys = Keys(house, made.sha256, {"acme-1": house.keys["acme"]}, {"shim-1": secrets.token_urlsafe(48)})
    keys.write()
    driver = Driver(house, site.kafka("tenant.acme"), keys.signer("acme-1"), made.key, "")
    yield Scene(site, house, keys, driver)
    house.close()


async def test_no_request_is_lost_while_every_key_is_changed(scene: Scene) -> None:
    house, site, driver = scene.house, scene.site, scene.driver
    house.signed_in = {"admission": site.settings("admission"), "generation": site.settings("worker")}
    admission, worker, api = house.admission(), house.worker(), scene.api("shim-1", site.settings("api"))
    for stage in (admission, worker, api):
        await stage.ready(within_s=90)
    driver.url = f"http://127.0.0.1:{api.port}"
    stop = asyncio.Event()
    driving = asyncio.create_task(driver.run(stop))

    await change_the_publishers_key(scene, admission)
    await change_the_shims_key(scene, admission, api)
    await change_the_tenants_password(scene)
    await change_users_and_store_keys(scene, admission, worker)

    await driver.decided()
    stop.set()
    await driving
    ids = set(driver.ids)
    assert len(ids) == len(driver.ids) > 20
    results = await house.until(lambda results: ids <= _ids(results, "generation.succeeded"), within_s=BATCH_S)
    assert _ids(results, "generation.succeeded") == ids
    assert not _ids(results, "generation.rejected") | _ids(results, "generation.failed")
    await house.require_balance()


async def change_the_publishers_key(scene: Scene, admission: Stage) -> None:
    keys, driver = scene.keys, scene.driver
    keys.tenant["acme-2"] = ed25519.Ed25519PrivateKey.generate()
    await keys.apply(admission)
    driver.signer = keys.signer("acme-2")
    await driver.decided()
    old = keys.signer("acme-1")
    del keys.tenant["acme-1"]
    await keys.apply(admission)
    await scene.refused(old)


async def change_the_shims_key(scene: Scene, admission: Stage, api: Stage) -> None:
    keys, driver = scene.keys, scene.driver
    keys.shim["shim-2"] = secrets.token_urlsafe(48)
    await keys.apply(admission)
    second = await scene.api("shim-2", scene.site.settings("api")).ready(within_s=90)
    driver.url = f"http://127.0.0.1:{second.port}"
    await _ended(api)
    await driver.decided()
    old = keys.shim_signer("shim-1")
    del keys.shim["shim-1"]
    await keys.apply(admission)
    await scene.refused(old)


async def change_the_tenants_password(scene: Scene) -> None:
    """A user has one password at a time: open connections go on, and new ones need the new one."""
    site, driver = scene.site, scene.driver
    old, password = driver.kafka, secrets.token_urlsafe(24)
    await put_users(site.admin, {"tenant.acme": password})
    driver.kafka = site.kafka("tenant.acme", password=password)
    await _shut_out(old)


async def change_users_and_store_keys(scene: Scene, admission: Stage, worker: Stage) -> None:
    house, site = scene.house, scene.site
    old_kafka, old_store = site.kafka("worker"), site.store("worker")
    passwords = {role + NEW: secrets.token_urlsafe(24) for role in ("admission", "worker")}
    await put_users(site.admin, passwords)
    await allow(
        site.admin,
        {"admission-2": grants("admission", house.topics), "worker-2": grants("worker", house.topics)},
    )
    root, secret = StoreUsers(site.store()), secrets.token_urlsafe(24)
    await root.put_policy(f"{site.bucket}.worker", policy_of("worker", site.bucket))
    await root.put_user("worker-2", secret, f"{site.bucket}.worker")
    for role, stage in (("admission", "admission"), ("worker", "generation")):
        user = role + NEW
        house.signed_in = {**house.signed_in, stage: site.settings_with(user, passwords[user], secret)}
    for old, new in ((admission, house.admission()), (worker, house.worker())):
        await new.ready(within_s=90)
        await _ended(old)
    await drop_users(site.admin, ["admission", "worker"])
    await root.drop_user("worker")
    await _shut_out(old_kafka)
    async with ObjectStore(old_store) as objects:
        with pytest.raises(Misconfigured):
            await objects.get("outputs/acme/none")


async def _ended(stage: Stage) -> None:
    assert stage.process is not None
    stage.process.terminate()
    assert await stage.ended() == 0


async def _shut_out(kafka: KafkaSettings) -> None:
    with pytest.raises(TransportError):
        async with Publisher(kafka, client_id="old"):
            pass

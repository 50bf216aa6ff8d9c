"""Pictures in base64 inside an answer: whole for the caller, never whole in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import tracemalloc
from pathlib import Path

from producer_api.answers import Image, TaskPage, task_of_state
from producer_api.inlining import inlined
from producer_api.services import Services
from schemas.connection import KafkaSettings, StoreSettings
from schemas.ids import new_id
from schemas.settings import Settings
from tests.producer_api.support import install

LARGE = 40 * 2**20 + 1


def image(index: int, data: bytes) -> Image:
    sha256 = hashlib.sha256(data).hexdigest()
    return Image(
        index=index,
        key=f"outputs/acme/{index}",
        sha256=sha256,
        bytes=len(data),
        media_type="image/png",
        width=1,
        height=1,
        seed=index,
        path=f"/{index}",
        url="https://store",
    )


async def test_large_pictures_go_through_in_pieces_and_one_that_is_gone_is_left_out(
    store: StoreSettings, tmp_path: Path
) -> None:
    installation = install(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"), store=store), tmp_path)
    services = Services.build(installation.settings)
    data = secrets.token_bytes(LARGE)
    images = [image(0, data), image(1, data[:1000]), image(2, data[:5])]
    for picture, content in ((images[0], data), (images[1], data[:1000])):
        await services.objects.put(picture.key, content, content_type="image/png")
    task = task_of_state(new_id(), "succeeded")
    task.outputs = images
    answer = await inlined(services, TaskPage(tasks=[task]), images, status=200, headers={})
    with (tmp_path / "answer.json").open("wb") as file:
        tracemalloc.start()
        async for piece in answer.body_iterator:
            assert isinstance(piece, bytes)
            file.write(piece)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    await services.objects.close()
    assert peak < 4 * 2**20, f"{peak / 2**20:.1f} MiB for a picture of 40"
    said = (tmp_path / "answer.json").read_bytes()
    assert int(answer.headers["content-length"]) == len(said)
    [found] = json.loads(said)["tasks"]
    assert [base64.b64decode(one["b64_json"]) for one in found["outputs"][:2]] == [data, data[:1000]]
    assert found["outputs"][2].keys().isdisjoint({"b64_json", "url"})

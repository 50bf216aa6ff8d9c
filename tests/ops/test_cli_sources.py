"""`easel submit --source` and `--mask`: from a file on the command line to a picture that is made from it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from ops.cli.terminal import ExitCode
from schemas.settings import Settings
from tests.house import House
from tests.ops.test_cli_asking import answers, command, write_key
from transport.objects import ObjectStore

DRAWN = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
MODELS = {
    "nothing": {
        "pipeline": ".",
        "engine": "null",
        "kinds": ["text_to_image", "image_to_image", "inpainting"],
        "defaults": {"width": 64, "height": 64, "steps": 4},
    }
}


def write_picture(path: Path, pixels: np.ndarray) -> str:
    """Returns the hash of the file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    path.write_bytes(file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()


async def test_a_file_becomes_a_source_and_a_picture_is_made_from_it(settings: Settings, tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(json.dumps({"models": MODELS}))
    house = await House.build(settings, tmp_path, tenants=("acme",), models=models)
    try:
        write_key(tmp_path, "acme-1", house.keys["acme"])
        half = np.zeros((64, 64), dtype=np.uint8)
        half[:, :32] = 255
        digest = write_picture(tmp_path / "photo.png", DRAWN)
        write_picture(tmp_path / "mask.png", half)
        house.admission()
        house.worker()
        for stage in house.stages:
            await stage.ready()

        painted = ("submit", "a red circle", "--source", "photo.png", "--mask", "mask.png", "--strength", "1")
        [made] = await answers(house, *painted)
        assert made["error"] is None, made
        pixels = np.asarray(Image.open(house.folder / made["files"][0]))
        assert np.array_equal(pixels[:, 32:], DRAWN[:, 32:])
        assert not np.array_equal(pixels[:, :32], DRAWN[:, :32])

        # The file lies in the store under its hash; named by its key it is the same source.
        key = f"sources/acme/{digest}.png"
        async with ObjectStore(settings.store) as objects:
            assert await objects.get(key) == (tmp_path / "photo.png").read_bytes()
            assert len([one async for one in objects.list("sources/")]) == 2
        [again] = await answers(house, "submit", "a red circle", "--source", key, "--strength", "0.01", "--seed", "1")
        assert again["error"] is None, again
        near = np.asarray(Image.open(house.folder / again["files"][0])).astype(int)
        assert np.abs(near - DRAWN).mean() < np.abs(near - np.roll(DRAWN, 20, 0)).mean()

        (tmp_path / "notes.txt").write_text("no picture")
        for wrong, why in (("notes.txt", "can't be a source"), ("gone.png", "no file 'gone.png'")):
            refused = await command(house, "submit", "a red circle", "--source", wrong)
            assert (refused.code, why in refused.err) == (ExitCode.USAGE, True), refused.err
        others = await command(house, "submit", "a red circle", "--source", key.replace("acme", "bolt"))
        assert others.code == ExitCode.USAGE
        await house.require_balance()
    finally:
        house.close()

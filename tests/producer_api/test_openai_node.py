"""OpenAI's own client for Node.js, against a whole installation."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ops.local.cache import provide
from tests.producer_api.test_openai_python import GREEN, half_open
from tests.producer_api.whole import Whole

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="Node.js and npm are not there"),
]

PROGRAM = Path(__file__).parent / "node"


def client_folder() -> Path:
    """Where the client is: installed once for this user, in the version that is named."""
    named = (PROGRAM / "package.json").read_bytes()

    def fill(folder: Path) -> None:
        (folder / "package.json").write_bytes(named)
        quiet = ["--no-fund", "--no-audit", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(["npm", "install", *quiet], cwd=folder, check=True, timeout=180, capture_output=True)

    version = json.loads(named)["dependencies"]["openai"]
    return provide(f"openai-node-{version}", fill)


@pytest.fixture(scope="module")
def found(whole_house: Whole, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program saw."""
    installed, folder = client_folder(), tmp_path_factory.mktemp("program")
    (folder / "image.png").write_bytes(GREEN)
    (folder / "mask.png").write_bytes(half_open())
    shutil.copy(PROGRAM / "images.mjs", folder)
    (folder / "node_modules").symlink_to(installed / "node_modules")
    ended = subprocess.run(
        ["node", "images.mjs", f"{whole_house.url}/v1", "image.png", "mask.png"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_models_and_pictures(found: dict[str, Any]) -> None:
    assert found["models"] == ["nothing", "gpt-image-2"]
    assert found["base64"] == ["PNG", "PNG"]
    assert found["url"] == "PNG"


def test_a_stream_with_partial_images(found: dict[str, Any]) -> None:
    assert found["events"] == [
        ["image_generation.partial_image", 0, True],
        ["image_generation.partial_image", 1, True],
        ["image_generation.completed", None, True],
    ]


def test_an_edit_with_a_mask(found: dict[str, Any]) -> None:
    made = Image.open(io.BytesIO(base64.b64decode(found["edited"]))).convert("RGB")
    assert made.crop((32, 0, 64, 64)).getcolors() == [(32 * 64, (0, 200, 0))]
    assert made.crop((0, 0, 32, 64)).getcolors() != [(32 * 64, (0, 200, 0))]


def test_errors_are_of_the_kinds_that_it_knows(found: dict[str, Any]) -> None:
    assert found["wrong"] == {
        "kind": "BadRequestError",
        "status": 400,
        "code": "invalid_request",
        "param": "background",
    }
    assert found["nobody"]["kind"] == "AuthenticationError"
    assert found["limited"]["kind"] == "RateLimitError"
    assert (found["nobody"]["code"], found["limited"]["code"]) == ("invalid_api_key", "rate_limit_exceeded")


def test_what_is_late_is_found_again_by_its_key(whole_house: Whole, found: dict[str, Any]) -> None:
    assert (found["late"]["status"], found["again"]) == (504, 1)
    assert [end["kind"] for end in whole_house.ends("node")] == ["generation.succeeded"]

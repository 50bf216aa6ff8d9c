"""``easel model list|info|check|warm`` as people run it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from schemas.catalog import load_catalog
from tests.docs.pages import ROOT, blocks
from tests.ops.cli_process import Ended, easel

TINY = {"pipeline": str(ROOT / "models" / "easel-tiny"), "defaults": {"width": 96, "height": 96, "steps": 4}}


def model(*arguments: str) -> Ended:
    return easel("model", *arguments, cwd=ROOT, timeout_s=120)


def write(folder: Path, **models: object) -> Path:
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "models": models}))
    return path


def test_the_example_of_the_page_is_a_catalogue(tmp_path: Path) -> None:
    [example] = [block.text for block in blocks("docs/models.md") if block.language == "yaml"]
    path = tmp_path / "models.yaml"
    path.write_text(example)
    assert len(load_catalog(path).models) == 5


def test_list_and_info(tmp_path: Path) -> None:
    [row] = json.loads(model("list", "--json").out)
    assert (row["model"], row["milliunits"], row["problem"]) == ("easel-tiny", 211, "")
    info = json.loads(model("info", "easel-tiny", "--json").out)
    assert info["pipeline_class"] == "StableDiffusionXLPipeline" and len(info["weights_revision"]) == 16
    asked = model("info", "nope")
    assert asked.code == 1 and "there is: easel-tiny" in asked.err


def test_check_names_each_file_that_is_missing(tmp_path: Path) -> None:
    hub = {"hub": "someone/something", "revision": "0" * 40}
    path = write(
        tmp_path,
        fine=TINY,
        gone={**TINY, "pipeline": "nowhere"},
        fetched={**TINY, "pipeline": hub},
        laid={**TINY, "overlay": {"file": "o.ckpt"}, "adapters": {"ink": {"file": "ink.safetensors"}}},
    )
    found = model("check", str(path), "--json")
    problems = json.loads(found.out)["problems"]
    assert found.code == 1 and sorted(problems) == ["fetched", "gone", "laid"]
    assert "easel model warm" in problems["fetched"][0] and "model_index.json" in problems["gone"][0]
    assert "adapter 'ink' is not there" in problems["laid"][0] and "convert it" in problems["laid"][1]
    assert model("check", str(write(tmp_path, fine=TINY))).code == 0


def test_warm_makes_a_picture(tmp_path: Path) -> None:
    warmed = json.loads(model("warm", "easel-tiny", "--json").out)
    assert warmed["model"] == "easel-tiny" and warmed["picture_s"] > 0

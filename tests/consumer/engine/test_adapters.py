"""LoRA adapters: by request, in and out without a trace, changed files taken up between batches, broken ones named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from consumer.engine.contract import Batch, EngineError, Item, Shape
from consumer.engine.diffusers import DiffusersEngine
from ops.families import Family, make_pipeline
from schemas.catalog import AdapterFile, Defaults, ModelCard
from schemas.errors import Code

ITEM = Item("0", "a red circle", seed=3)
FAMILIES: tuple[Family, ...] = ("z-image", "qwen-image", "flux")


def write_adapter(pipeline: Any, path: Path, seed: int) -> None:
    """A LoRA with random weights, as the pipeline's own class saves one."""
    torch.manual_seed(seed)
    transformer = pipeline.transformer
    transformer.add_adapter(LoraConfig(r=4, lora_alpha=64, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(transformer)
    transformer.delete_adapters("default")
    pipeline.save_lora_weights(path.parent, transformer_lora_layers=layers, weight_name=path.name)


class Bench:
    """One family's engine with two adapters, ``ink`` and ``oil``."""

    def __init__(self, family: Family, folder: Path, **more: Any) -> None:
        pipeline = make_pipeline(family, "tiny")
        pipeline.save_pretrained(folder / "pipeline")
        self.files = {name: folder / f"{name}.safetensors" for name in ("ink", "oil")}
        for seed, path in enumerate(self.files.values()):
            write_adapter(pipeline, path, seed)
        self.engine = DiffusersEngine()
        self.engine.load(
            ModelCard(
                pipeline=folder / "pipeline",
                defaults=Defaults(width=64, height=64, steps=2),
                adapters={name: AdapterFile(file=path) for name, path in self.files.items()},
                **more,
            )
        )

    def draw(self, *adapters: tuple[str, float]) -> Any:
        shape = Shape(64, 64, 2, 0.0, adapters=adapters)
        return self.engine.render(Batch("", shape, (ITEM,)), lambda _: None, lambda _: False)


@pytest.fixture(params=FAMILIES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> Bench:
    return Bench("z-image", tmp_path)


def test_each_request_has_its_own_and_none_leaves_a_trace(bench: Bench) -> None:
    plain = bench.draw()
    ink, oil = bench.draw(("ink", 1.0)), bench.draw(("oil", 1.0))
    assert min(np.abs(plain - ink).max(), np.abs(plain - oil).max(), np.abs(ink - oil).max()) > 1e-3
    assert np.array_equal(bench.draw(("ink", 1.0)), ink)
    assert np.array_equal(bench.draw(), plain)


def test_scales_and_combinations_count(one: Bench) -> None:
    half, whole = one.draw(("ink", 0.5)), one.draw(("ink", 1.0))
    both = one.draw(("ink", 1.0), ("oil", 1.0))
    assert np.abs(half - whole).max() > 1e-3 and np.abs(both - whole).max() > 1e-3
    assert np.abs(one.draw(("ink", 0.0)) - one.draw()).max() < 1e-5


def test_the_revision_names_the_files_and_scales(one: Bench) -> None:
    one.draw()
    base = one.engine.weights_revision
    one.draw(("ink", 1.0))
    ink = one.engine.weights_revision
    one.draw(("ink", 0.5))
    assert ink.startswith(f"{base}+") and one.engine.weights_revision not in (base, ink)
    one.draw()
    assert one.engine.weights_revision == base


def test_a_changed_file_is_taken_up_before_the_next_batch(one: Bench) -> None:
    before = one.draw(("ink", 1.0))
    one.files["oil"].replace(one.files["ink"])
    after = one.draw(("ink", 1.0))
    assert np.abs(before - after).max() > 1e-3


def test_a_file_that_was_touched_is_not_loaded_again(one: Bench) -> None:
    before, revision = one.draw(("ink", 1.0)), one.engine.weights_revision
    labels = one.engine._pipeline.get_list_adapters()
    one.files["ink"].write_bytes(one.files["ink"].read_bytes())
    assert np.array_equal(one.draw(("ink", 1.0)), before)
    assert one.engine._pipeline.get_list_adapters() == labels
    assert one.engine.weights_revision == revision


def test_a_file_that_comes_later_is_taken_up(one: Bench) -> None:
    kept = one.files["ink"].rename(one.files["ink"].with_name("elsewhere.safetensors"))
    with pytest.raises(EngineError, match="can't be used: it can't be read"):
        one.draw(("ink", 1.0))
    kept.rename(one.files["ink"])
    assert np.isfinite(one.draw(("ink", 1.0))).all()


def test_the_strength_that_a_file_names_counts(one: Bench) -> None:
    tensors = load_file(one.files["ink"])
    told = {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.target_modules": ["to_q", "to_v"]}
    save_file(tensors, one.files["oil"], metadata={"format": "pt", "lora_adapter_metadata": json.dumps(told)})
    # Alpha is twice the rank, where nothing is said of it the rank.
    assert np.abs(one.draw(("oil", 1.0)) - one.draw(("ink", 2.0))).max() <= 1e-5
    assert np.abs(one.draw(("oil", 1.0)) - one.draw(("ink", 1.0))).max() > 1e-3


def test_a_broken_file_leaves_the_old_one_in_use(one: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    before, revision = one.draw(("ink", 1.0)), one.engine.weights_revision
    one.files["ink"].write_bytes(b"half a file")
    assert np.array_equal(one.draw(("ink", 1.0)), before)
    assert one.engine.weights_revision == revision
    one.draw(("ink", 1.0))
    said = capfd.readouterr().err
    assert said.count("'ink.safetensors' can't be used") == 1 and "still in use" in said


def test_a_file_of_another_model_is_refused(one: Bench) -> None:
    tensors = load_file(one.files["ink"])
    save_file({f"elsewhere.{name}": tensor for name, tensor in tensors.items()}, one.files["ink"])
    with pytest.raises(EngineError, match=r"ink\.safetensors") as refused:
        one.draw(("ink", 1.0))
    assert refused.value.code is Code.MODEL_UNAVAILABLE
    assert np.isfinite(one.draw(("oil", 1.0))).all()


def test_what_is_missing_or_unknown_is_named(one: Bench) -> None:
    one.files["ink"].unlink()
    with pytest.raises(EngineError, match=r"ink\.safetensors"):
        one.draw(("ink", 1.0))
    with pytest.raises(EngineError, match="'water'"):
        one.draw(("water", 1.0))


def test_only_the_last_few_stay_loaded(tmp_path: Path) -> None:
    one = Bench("z-image", tmp_path, max_loaded_adapters=1)
    first = one.draw(("ink", 1.0))
    one.draw(("oil", 1.0))
    [labels] = one.engine._pipeline.get_list_adapters().values()
    assert len(labels) == 1
    assert np.array_equal(one.draw(("ink", 1.0)), first)

"""Adapters on a compiled model: in and out, with any scale, and nothing is compiled anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.lora_base import LoraBaseMixin
from peft import LoraConfig, get_peft_model_state_dict
from torch._dynamo.testing import CompileCounter

from consumer.engine.contract import Batch, Item, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.loading import denoiser_of
from ops.families import Family, make_pipeline
from schemas.catalog import AdapterFile, Defaults, ModelCard

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ITEM = Item("0", "a red circle", seed=3)
FAMILIES: tuple[Family, ...] = ("z-image", "flux", "sdxl")
LAYERS = {"ink": (4, 64, ["to_q", "to_v"]), "oil": (8, 16, ["to_k", "to_v"]), "chalk": (2, 32, ["to_q"])}


def write_adapter(pipeline: Any, path: Path, seed: int, rank: int, alpha: int, modules: Sequence[str]) -> None:
    """A LoRA with random weights, as the pipeline's own class saves one, with what its header says."""
    torch.manual_seed(seed)
    denoiser = denoiser_of(pipeline)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(modules), init_lora_weights=False)
    denoiser.add_adapter(config)
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    tensors = {f"{part}.{name}": tensor for name, tensor in get_peft_model_state_dict(denoiser).items()}
    denoiser.delete_adapters("default")
    LoraBaseMixin.write_lora_layers(
        tensors, str(path.parent), True, path.name, None, True, lora_adapter_metadata=_told(part, config)
    )


def _told(part: str, config: LoraConfig) -> dict[str, Any]:
    told = {"r": config.r, "lora_alpha": config.lora_alpha, "target_modules": sorted(config.target_modules or [])}
    return {f"{part}.{name}": value for name, value in told.items()}


class Pair:
    """One model twice: as it is, and compiled by a compiler that only counts what it is given."""

    def __init__(self, family: Family, folder: Path) -> None:
        self.source = make_pipeline(family, "tiny")
        self.source.save_pretrained(folder / "pipeline")
        self.files = {name: folder / f"{name}.safetensors" for name in LAYERS}
        for seed, (name, path) in enumerate(self.files.items()):
            write_adapter(self.source, path, seed, *LAYERS[name])
        self.card = card = ModelCard(
            pipeline=folder / "pipeline",
            defaults=Defaults(width=64, height=64, steps=2),
            adapters={name: AdapterFile(file=path) for name, path in self.files.items()},
        )
        self.plain, self.compiled = DiffusersEngine(), DiffusersEngine()
        self.plain.load(card)
        self.compiled.load(card.model_copy(update={"compile": "blocks"}))
        self.counter = CompileCounter()
        denoiser_of(self.compiled._pipeline).compile_repeated_blocks(fullgraph=False, backend=self.counter)

    def apart(self, *adapters: tuple[str, float]) -> float:
        """By how much the two differ."""
        return float(np.abs(draw(self.plain, *adapters) - draw(self.compiled, *adapters)).max())


def draw(engine: DiffusersEngine, *adapters: tuple[str, float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    batch = Batch("", Shape(64, 64, 2, 0.0, adapters=adapters), (ITEM,))
    return engine.render(batch, lambda _: None, lambda _: False)


@pytest.fixture(autouse=True)
def _compiles_afresh() -> Iterator[None]:
    torch.compiler.reset()
    # Beyond its limit of versions torch would run the rest as it is, and nothing would count it.
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=8):
        yield
    torch.compiler.reset()


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return Pair(request.param, tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> Pair:
    return Pair("z-image", tmp_path)


def test_adapters_ranks_layers_and_scales_change_and_nothing_is_compiled_anew(pair: Pair) -> None:
    plain = draw(pair.compiled)
    assert pair.apart() <= 1e-5 and pair.apart(("ink", 1.0)) <= 1e-5
    compiled = pair.counter.frame_count
    assert compiled > 0
    strengths = [("oil", 1.0), ("ink", 0.5), ("oil", -0.25), ("chalk", 2.0), ("ink", 1.0)]
    for wanted in strengths:
        assert pair.apart(wanted) <= 1e-5, wanted
        assert pair.apart() <= 1e-5
    assert pair.counter.frame_count == compiled
    assert np.array_equal(draw(pair.compiled), plain)
    assert np.abs(draw(pair.compiled, ("ink", 1.0)) - plain).max() > 1e-3


def test_several_at_once_are_compiled_once(pair: Pair) -> None:
    draw(pair.compiled)
    assert pair.apart(("ink", 1.0), ("oil", 0.5)) <= 1e-5
    compiled = pair.counter.frame_count
    assert pair.apart(("chalk", 2.0), ("ink", -1.0)) <= 1e-5
    assert pair.apart(("oil", 1.0), ("ink", 1.0)) <= 1e-5
    assert pair.counter.frame_count == compiled


def test_a_changed_file_is_taken_up_and_nothing_is_compiled_anew(one: Pair) -> None:
    assert one.apart(("ink", 1.0)) <= 1e-5
    before, compiled = draw(one.compiled, ("ink", 1.0)), one.counter.frame_count
    write_adapter(one.source, one.files["ink"], 7, 6, 12, ["to_k"])
    assert one.apart(("ink", 1.0)) <= 1e-5
    assert np.abs(draw(one.compiled, ("ink", 1.0)) - before).max() > 1e-3
    assert one.counter.frame_count == compiled


def test_a_warm_model_has_been_compiled_for_an_adapter(one: Pair) -> None:
    one.compiled.warm()
    compiled = one.counter.frame_count
    assert one.card.defaults.steps == 2 and "+" not in one.compiled.weights_revision
    shape = Shape(64, 64, 2, one.card.defaults.guidance, adapters=(("oil", 0.5),))
    one.compiled.render(Batch("", shape, (Item("0", "", seed=0),)), lambda _: None, lambda _: False)
    assert one.counter.frame_count == compiled > 0


def test_both_name_the_same_revision(one: Pair) -> None:
    draw(one.plain, ("ink", 0.5))
    draw(one.compiled, ("ink", 0.5))
    assert one.plain.weights_revision == one.compiled.weights_revision


def test_a_broken_file_leaves_the_slots_in_use(one: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    before = draw(one.compiled, ("ink", 1.0))
    compiled = one.counter.frame_count
    one.files["ink"].write_bytes(b"half a file")
    assert np.array_equal(draw(one.compiled, ("ink", 1.0)), before)
    assert one.counter.frame_count == compiled
    said = capfd.readouterr().err
    assert "still in use" in said and "compiled anew" not in said


@pytest.mark.parametrize(
    ("rank", "modules", "why"),
    [(16, ["to_q"], "rank 16, above the 8 of the slots"), (4, ["w1"], "which none did when the model was loaded")],
)
def test_a_file_that_fits_no_slot_is_used_all_the_same(
    one: Pair, capfd: pytest.CaptureFixture[str], rank: int, modules: list[str], why: str
) -> None:
    assert one.apart(("ink", 1.0), ("oil", 1.0)) <= 1e-5
    write_adapter(one.source, one.files["ink"], 7, rank, 12, modules)
    assert one.apart(("oil", 0.5), ("ink", 1.0)) <= 1e-5
    assert one.apart(("chalk", 0.5)) <= 1e-5 and one.apart() <= 1e-5
    said = capfd.readouterr().err
    assert why in said and said.count("compiled anew for each adapter and scale") == 1


@pytest.mark.parametrize("option", [{"compile": "graphs"}, {"compile": "none"}, {"compile": "blocks", "adapters": {}}])
def test_where_slots_bring_nothing_there_are_none(option: dict[str, Any], one: Pair) -> None:
    engine = DiffusersEngine()
    engine.load(one.card.model_copy(update=option))
    assert not any(engine._pipeline.get_list_adapters().values())
    assert any(one.compiled._pipeline.get_list_adapters().values())

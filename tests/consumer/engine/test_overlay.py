"""Weights laid over a pipeline's own: which names fit, what is told, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from consumer.engine.contract import Batch, EngineError, Item, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.overlay import lay_over
from ops.families import make_pipeline
from schemas.catalog import Defaults, ModelCard, Overlay
from schemas.errors import Code


@pytest.fixture
def transformer() -> torch.nn.Module:
    module: torch.nn.Module = make_pipeline("z-image", "tiny").transformer
    return module


def fine_tune(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the same shapes, each its own."""
    torch.manual_seed(7)
    return {name: torch.randn_like(tensor) for name, tensor in module.state_dict().items()}


def write(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path = folder / "fine-tune.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


@pytest.mark.parametrize(
    "prefix", ["", "transformer.", "model.", "diffusion_model.", "model.diffusion_model.", "module._orig_mod."]
)
def test_prefixes_are_cut_off(transformer: torch.nn.Module, tmp_path: Path, prefix: str) -> None:
    tuned = fine_tune(transformer)
    report = lay_over(transformer, write(tmp_path, {prefix + name: t for name, t in tuned.items()}), strict=True)
    assert report.complete and report.matched == len(tuned)
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in transformer.state_dict().items())


def test_the_layout_of_the_first_release_is_read(transformer: torch.nn.Module, tmp_path: Path) -> None:
    """As published for other programs: queries, keys and values in one tensor, and other names."""
    tuned = fine_tune(transformer)
    original: dict[str, torch.Tensor] = {}
    renamed = {
        "all_final_layer.2-1.": "final_layer.",
        "all_x_embedder.2-1.": "x_embedder.",
        ".attention.to_out.0.": ".attention.out.",
        ".attention.norm_k.": ".attention.k_norm.",
        ".attention.norm_q.": ".attention.q_norm.",
    }
    for name, tensor in tuned.items():
        if ".attention.to_q.weight" in name:
            parts = [tuned[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            original["model.diffusion_model." + name.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attention.to_k.weight" not in name and ".attention.to_v.weight" not in name:
            for ours, theirs in renamed.items():
                name = name.replace(ours, theirs)  # noqa: PLW2901
            original["model.diffusion_model." + name] = tensor
    report = lay_over(transformer, write(tmp_path, original), strict=True)
    assert report.matched == len(tuned)
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in transformer.state_dict().items())


def test_it_says_what_did_not_fit(transformer: torch.nn.Module, tmp_path: Path) -> None:
    tuned = fine_tune(transformer)
    before = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    first, second, *_ = tuned
    del tuned[first]
    tuned[second] = torch.zeros(3)
    tuned["loss_weights"] = torch.zeros(1)
    report = lay_over(transformer, write(tmp_path, tuned), strict=False)
    assert (report.missing, report.unexpected, report.mismatched) == ((first,), ("loss_weights",), (second,))
    assert report.matched == len(before) - 2
    after = transformer.state_dict()
    assert torch.equal(after[first], before[first]) and torch.equal(after[second], before[second])
    assert first in str(report) and "1 unexpected" in str(report)


def test_strict_refuses_and_changes_nothing(transformer: torch.nn.Module, tmp_path: Path) -> None:
    tuned = fine_tune(transformer)
    before = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    tuned.popitem()
    with pytest.raises(EngineError, match="strict"):
        lay_over(transformer, write(tmp_path, tuned), strict=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in transformer.state_dict().items())


def test_the_models_dtype_is_kept(tmp_path: Path) -> None:
    module = make_pipeline("z-image", "tiny", dtype=torch.bfloat16).transformer
    tuned = {name: tensor.float() for name, tensor in fine_tune(module).items()}
    lay_over(module, write(tmp_path, tuned), strict=True)
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.bfloat16}


def test_the_engine_lays_it_over_and_names_it_in_the_revision(tmp_path: Path) -> None:
    pipeline = make_pipeline("z-image", "tiny")
    pipeline.save_pretrained(tmp_path / "pipeline")
    overlay = Overlay(file=write(tmp_path, fine_tune(pipeline.transformer)), strict=True)
    card = ModelCard(pipeline=tmp_path / "pipeline", defaults=Defaults(width=64, height=64, steps=2))
    batch = Batch("", Shape(64, 64, 2, 0.0), (Item("0", "a red circle", 0),))

    def drawn(card: ModelCard) -> tuple[Any, str]:
        engine = DiffusersEngine()
        engine.load(card)
        return engine.render(batch, lambda _: None, lambda _: False), engine.weights_revision

    (plain, base), (tuned, revision) = drawn(card), drawn(card.model_copy(update={"overlay": overlay}))
    assert np.abs(plain - tuned).max() > 1e-3 and base != revision


def test_a_part_that_the_pipeline_lacks_is_named(tmp_path: Path) -> None:
    pipeline = make_pipeline("z-image", "tiny")
    pipeline.save_pretrained(tmp_path / "pipeline")
    overlay = Overlay(file=write(tmp_path, fine_tune(pipeline.transformer)), component="unet")
    defaults = Defaults(width=64, height=64, steps=2)
    with pytest.raises(EngineError, match=r"no part 'unet' .* it has: text_encoder, transformer, vae"):
        DiffusersEngine().load(ModelCard(pipeline=tmp_path / "pipeline", defaults=defaults, overlay=overlay))


@pytest.mark.parametrize("content", [{"something.else": torch.zeros(2)}, None, b"not safetensors"])
def test_what_can_not_be_used_is_named(transformer: torch.nn.Module, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "fine-tune.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(tmp_path, content)
    with pytest.raises(EngineError, match=r"fine-tune\.safetensors") as refused:
        lay_over(transformer, path, strict=False)
    assert refused.value.code is Code.MODEL_UNAVAILABLE


def test_pickles_are_refused(transformer: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "fine-tune.ckpt"
    torch.save(fine_tune(transformer), path)
    with pytest.raises(EngineError, match="pickle"):
        lay_over(transformer, path, strict=False)

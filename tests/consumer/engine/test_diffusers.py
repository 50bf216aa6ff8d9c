"""The diffusers engine beyond the contract: exact parity, what it refuses to load, and errors with names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from consumer.engine.contract import Batch, EngineError, Item, Missed, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.weights import check_pipeline, weights_revision
from schemas.catalog import Defaults, ModelCard
from schemas.errors import Code
from tests.consumer.engine.pipelines import write_random_pipeline

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

PROMPTS = (
    "a small red circle on a white background",
    "a large blue square on a yellow background",
    "a green star left of a small black circle",
)
ITEMS = tuple(Item(str(seed), prompt, seed) for seed, prompt in enumerate(PROMPTS))


def card_of(folder: Path) -> ModelCard:
    return ModelCard(pipeline=folder, defaults=Defaults(width=64, height=64, steps=2, guidance=2.0))


@pytest.fixture(scope="module")
def loaded(random_pipeline: Path) -> Iterator[DiffusersEngine]:
    engine = DiffusersEngine()
    engine.load(card_of(random_pipeline))
    yield engine
    engine.unload()


def render(engine: DiffusersEngine, shape: Shape, *items: Item) -> np.ndarray:
    return engine.render(Batch("m", shape, items), lambda _: None, lambda _: False)


@pytest.mark.parametrize("model", ["easel-tiny", "random-sd"])
def test_parity_within_1e_5(model: str, cards: dict[str, ModelCard]) -> None:
    engine = DiffusersEngine()
    engine.load(cards[model])
    given = cards[model].defaults
    for shape in (
        Shape(given.width, given.height, given.steps, given.guidance),
        Shape(given.width, given.height, given.steps, 0.0),
    ):
        together = render(engine, shape, *ITEMS)
        for index, item in enumerate(ITEMS):
            assert np.abs(render(engine, shape, item)[0] - together[index]).max() <= 1e-5
        assert np.abs(together[0] - together[1]).max() > 1e-3
    engine.unload()


def test_without_guidance_the_denoiser_runs_once_a_step(loaded: DiffusersEngine) -> None:
    rows: list[int] = []
    hook = loaded._pipeline.unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    render(loaded, Shape(32, 32, 2, 0.0), *ITEMS[:2])
    render(loaded, Shape(32, 32, 2, 4.0), *ITEMS[:2])
    hook.remove()
    assert rows == [2, 2, 4, 4]


def test_the_callers_lists_are_left_alone(loaded: DiffusersEngine) -> None:
    before = tuple(ITEMS)
    render(loaded, Shape(32, 32, 1, 0.0), *ITEMS)
    assert before == ITEMS


def test_a_pipeline_that_fails_says_so_by_name_only(loaded: DiffusersEngine) -> None:
    with pytest.raises(EngineError) as failure:
        loaded.generate(Batch("m", Shape(33, 32, 1, 0.0), ITEMS[:1]), lambda _: None, lambda _: False)
    assert failure.value.code is Code.GENERATION_FAILED
    assert "ValueError" in failure.value.message
    assert "height" not in failure.value.message


def test_memory_that_is_not_there_is_told_apart(loaded: DiffusersEngine) -> None:
    with pytest.raises(EngineError) as failure:
        loaded.generate(Batch("m", Shape(8 * 500_000, 8 * 500_000, 1, 0.0), ITEMS[:1]), lambda _: None, lambda _: False)
    assert failure.value.code is Code.OUT_OF_MEMORY
    # The engine goes on.
    assert render(loaded, Shape(32, 32, 1, 0.0), ITEMS[0]).shape == (1, 32, 32, 3)


def test_torch_running_out_of_memory_above_so_many_pictures_is_told_apart(loaded: DiffusersEngine) -> None:
    original = loaded._pipeline.vae.decode

    def decode(latents: torch.Tensor, **given: object) -> object:
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return original(latents, **given)

    loaded._pipeline.vae.decode = decode
    try:
        with pytest.raises(EngineError) as failure:
            loaded.generate(Batch("m", Shape(32, 32, 1, 0.0), ITEMS[:3]), lambda _: None, lambda _: False)
        made = loaded.generate(Batch("m", Shape(32, 32, 1, 0.0), ITEMS[:2]), lambda _: None, lambda _: False)
    finally:
        loaded._pipeline.vae.decode = original
    assert failure.value.code is Code.OUT_OF_MEMORY
    assert len(made) == 2


def test_numbers_that_overflow_miss_one_picture(loaded: DiffusersEngine) -> None:
    original = loaded._pipeline.vae.decode

    def decode(latents: torch.Tensor, **given: object) -> object:
        latents = latents.clone()
        latents[1] = float("nan")
        return original(latents, **given)

    loaded._pipeline.vae.decode = decode
    try:
        with np.errstate(invalid="ignore"):
            results = loaded.generate(Batch("m", Shape(32, 32, 1, 0.0), ITEMS), lambda _: None, lambda _: False)
    finally:
        loaded._pipeline.vae.decode = original
    assert [type(result).__name__ for result in results] == ["Made", "Missed", "Made"]
    assert isinstance(results[1], Missed)
    assert results[1].code is Code.GENERATION_FAILED


def test_a_pickle_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = write_random_pipeline(tmp_path / "pickled", safe=True)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(EngineError, match=r"vae/diffusion_pytorch_model\.bin is a pickle"):
        DiffusersEngine().load(card_of(folder))


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(EngineError, match=r"model_index\.json"):
            check_pipeline(folder)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(EngineError, match=r"no \.safetensors"):
        check_pipeline(tmp_path)


def test_a_broken_file_is_refused(random_pipeline: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(random_pipeline, tmp_path / "broken")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(EngineError) as failure:
        DiffusersEngine().load(card_of(folder))
    assert failure.value.code is Code.MODEL_UNAVAILABLE
    assert str(tmp_path) not in failure.value.message


def test_the_revision_follows_the_content_of_the_weights(random_pipeline: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(random_pipeline, tmp_path / "moved")
    assert weights_revision(folder) == weights_revision(random_pipeline)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    first = next(iter(tensors))
    save_file({**tensors, first: tensors[first] + 1}, weights)
    assert weights_revision(folder) != weights_revision(random_pipeline)

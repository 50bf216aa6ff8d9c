"""The model in the repository: loads as any pipeline does, draws what it is asked for, alone and in company."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline

from ops.tiny_model.reading import read
from ops.tiny_model.score import score_model

# diffusers 0.42's solver under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MODEL = Path(__file__).parents[2] / "models" / "easel-tiny"
PROMPT = "a small red circle left of a large blue square on a white background"


@pytest.fixture(scope="module")
def pipeline() -> Iterator[StableDiffusionXLPipeline]:
    threads = torch.get_num_threads()
    # Torch's threads meet in every operation: beside other work on the same cores one thread is many times quicker.
    torch.set_num_threads(1)
    loaded = DiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    yield loaded
    torch.set_num_threads(threads)


def pictures(pipeline: StableDiffusionXLPipeline, prompts: list[str], seeds: list[int], **more: Any) -> np.ndarray:
    result: np.ndarray = pipeline(
        prompt=prompts,
        num_inference_steps=12,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
        **more,
    ).images
    return result


def shown(picture: np.ndarray) -> set[tuple[str | None, ...]]:
    return {(f.place, f.size, f.colour, f.shape) for f in read(np.rint(picture * 255).astype(np.uint8)).things}


def test_it_is_small_and_holds_no_pickle() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".jpg"}


def test_the_documented_prompt(pipeline: StableDiffusionXLPipeline) -> None:
    asked = {("left", "small", "red", "circle"), ("right", "large", "blue", "square")}
    drawn = pictures(pipeline, [PROMPT] * 4, [1, 2, 3, 4])
    assert sum(shown(picture) == asked for picture in drawn) >= 3


def test_a_call_as_the_engine_makes_it(pipeline: StableDiffusionXLPipeline) -> None:
    steps: list[int] = []

    def on_step_end(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        return values

    images = pipeline(
        prompt=[PROMPT, "a yellow star on a black background"],
        negative_prompt=["blurry", ""],
        num_inference_steps=4,
        guidance_scale=2.0,
        height=96,
        width=96,
        generator=[torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)],
        callback_on_step_end=on_step_end,
    ).images
    assert steps == [0, 1, 2, 3]
    assert [image.size for image in images] == [(96, 96), (96, 96)]


def test_a_seed_gives_one_picture_in_any_company(pipeline: StableDiffusionXLPipeline) -> None:
    prompts = [PROMPT, "a green heart on a pink background"]
    both = pictures(pipeline, prompts, [5, 6])
    alone = [pictures(pipeline, [prompt], [seed])[0] for prompt, seed in zip(prompts, [5, 6], strict=True)]
    assert max(float(np.abs(a - b).max()) for a, b in zip(both, alone, strict=True)) <= 1e-5
    other = pictures(pipeline, [PROMPT], [7])[0]
    assert float(np.abs(other - both[0]).max()) > 0.01


def test_rows_at_different_timesteps_equal_solo_rows(pipeline: StableDiffusionXLPipeline) -> None:
    unet = pipeline.unet
    sample = torch.randn(2, 16, 12, 12, generator=torch.Generator().manual_seed(3))
    timesteps = torch.tensor([900.0, 250.0])
    codes = torch.randn(2, unet.config.projection_class_embeddings_input_dim - 48, generator=torch.Generator())
    ids = torch.tensor([[96.0, 96.0, 0.0, 0.0, 96.0, 96.0]] * 2)

    def forward(rows: slice) -> torch.Tensor:
        said = {"text_embeds": codes[rows], "time_ids": ids[rows]}
        with torch.no_grad():
            out: torch.Tensor = unet(sample[rows], timesteps[rows], None, added_cond_kwargs=said).sample
        return out

    both = forward(slice(0, 2))
    assert torch.allclose(both[0], forward(slice(0, 1))[0], atol=1e-5)
    assert torch.allclose(both[1], forward(slice(1, 2))[0], atol=1e-5)


def test_a_negative_prompt_pushes_its_colour_away(pipeline: StableDiffusionXLPipeline) -> None:
    n, prompt = 24, "a large circle on a white background"

    def colours(negative: str) -> Counter[str | None]:
        drawn = pictures(pipeline, [prompt] * n, list(range(100, 100 + n)), negative_prompt=[negative] * n)
        return Counter(thing[2] for picture in drawn for thing in shown(picture))

    favourite, often = colours("").most_common(1)[0]
    assert favourite is not None
    assert often >= 3
    assert colours(favourite)[favourite] <= often // 3


def test_open_and_strange_prompts_still_give_one_picture_each(pipeline: StableDiffusionXLPipeline) -> None:
    prompts = ["", "a red circle", "ein Bild, 一张图 🦊 zzz", "a star " * 60]
    drawn = pictures(pipeline, prompts, [1, 2, 3, 4])
    assert np.isfinite(drawn).all()
    assert {thing[2:] for thing in shown(drawn[1])} == {("red", "circle")}


def test_a_picture_takes_less_than_half_a_second_of_one_core(pipeline: StableDiffusionXLPipeline) -> None:
    pictures(pipeline, [PROMPT], [1])
    times = []
    for seed in range(5):
        started = time.process_time()
        pictures(pipeline, [PROMPT], [seed])
        times.append(time.process_time() - started)
    # CPU time, and the least of five: other work on the machine is not the model's.
    assert min(times) < 0.5


def test_unseen_combinations_are_drawn_rightly() -> None:
    score = score_model(MODEL, n=45, seed=3)
    assert score["n"] == 45
    assert score["steps"] == 12
    assert min(score[name] for name in ("colour", "shape", "background", "position")) >= 0.95
    assert score["two_objects"] >= 0.85


def test_a_folder_without_a_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        score_model(tmp_path)

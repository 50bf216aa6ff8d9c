"""The training's machinery: a stopped run goes on as if it had not stopped, and lanes change no gradient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ops.tiny_model import text
from ops.tiny_model.lanes import Lanes
from ops.tiny_model.optim import Optimiser, learning_rate
from ops.tiny_model.runs import Run
from ops.tiny_model.train import train_main


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


def train(folder: Path, steps: int, stop_after: int | None = None) -> tuple[nn.Module, dict[str, Tensor]]:
    model = small_model()
    lanes = Lanes(2)
    optimiser = Optimiser(model, lanes)
    run = Run(folder, "small")
    for done, step in enumerate(run.steps(steps, model, optimiser), start=1):
        batch = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(step))

        def loss(rows: slice, batch: Tensor = batch) -> Tensor:
            value: Tensor = (model(batch[rows]).float() - batch[rows]).square().mean()
            return value

        run.log(step, lanes.backward(model, loss, len(batch)))
        optimiser.step(learning_rate(step, 60, 1e-2))
        if done == stop_after:
            break
    return model, optimiser.average


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, whole_average = train(tmp_path / "whole", 60)
    train(tmp_path / "parts", 30)
    again, again_average = train(tmp_path / "parts", 60)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(whole_average[name], again_average[name])
    losses = Run(tmp_path / "parts", "small").losses()
    assert [step for step, _ in losses] == [25, 50]
    assert losses[-1][1] < losses[0][1]


def test_a_run_that_was_broken_off_keeps_a_whole_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, 10)
    train(tmp_path, 20, stop_after=5)
    model = small_model()
    left = list(Run(tmp_path, "small").steps(10, model, Optimiser(model, Lanes(1))))
    assert left == []
    assert [path.name for path in tmp_path.glob("*.pt")] == ["small.pt"]


def test_lanes_give_the_gradients_of_the_whole_batch() -> None:
    batch = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    gradients = []
    for count in (1, 2, 3):
        model = small_model()

        def loss(rows: slice, model: nn.Module = model) -> Tensor:
            value: Tensor = (model(batch[rows]).float() - batch[rows]).square().mean()
            return value

        value = Lanes(count).backward(model, loss, len(batch))
        gradients.append((value, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    for value, parts in gradients[1:]:
        assert value == pytest.approx(gradients[0][0], rel=1e-2)
        for part, wanted in zip(parts, gradients[0][1], strict=True):
            assert torch.allclose(part, wanted, atol=2e-2 * float(wanted.abs().max()))


def test_an_error_in_a_lane_reaches_the_caller() -> None:
    def loss(rows: slice) -> Tensor:
        raise RuntimeError("rows are bad")

    with pytest.raises(RuntimeError, match="rows are bad"):
        Lanes(2).backward(small_model(), loss, 4)


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [learning_rate(step, 1000, 2.0, warm_up=100, tail=0.3) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[100] == rates[699] == 2.0
    assert rates[850] == pytest.approx(1.0)
    assert 0.0 < rates[999] < 0.01


def test_the_tokenizer_knows_our_words_whole_and_takes_any_text(tmp_path: Path) -> None:
    made = text.build_tokenizer(tmp_path, seed=0)
    loaded = type(made).from_pretrained(tmp_path)
    prompt = "a small turquoise circle left of a large square on a white background"
    assert loaded.tokenize(prompt) == [f"{word}</w>" for word in prompt.split()]
    strange = "Ünïcödé 一张图 🦊 qzx"
    assert loaded(strange).input_ids == made(strange).input_ids
    assert loaded.unk_token_id not in loaded(strange).input_ids[1:-1]


def test_a_poor_autoencoder_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--autoencoder-steps"):
        train_main(["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--autoencoder-steps", "2"])
    assert not (tmp_path / "out").exists()

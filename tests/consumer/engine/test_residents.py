"""Several models in one engine process: which stay, which leave, and what happens when memory runs out after all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from consumer.engine.child import _Worker
from consumer.engine.contract import Batch, EngineError, Item, Made, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.memory import Footprint
from consumer.engine.process import EngineProcess
from consumer.engine.residents import Residents
from consumer.engine.wire import Load
from schemas.catalog import Defaults, ModelCard
from schemas.errors import Code

# diffusers' own scheduler hands a tensor to numpy in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[3]
TINY = ModelCard(pipeline=ROOT / "models" / "easel-tiny", defaults=Defaults(width=96, height=96, steps=1))
ENOUGH = 2**40
ITEM = Item("0", "a small red circle", 1)


def load(name: str, models_bytes: int, card: ModelCard = TINY) -> Load:
    return Load("diffusers", name, card, models_bytes)


@pytest.fixture
def residents() -> Iterator[Residents]:
    made = Residents()
    yield made
    made.leave_only("")


@pytest.fixture(scope="module")
def weights() -> int:
    """What one model takes, as it is measured."""
    made = Residents()
    made.load(load("one", 0))
    return made.told()["one"].footprint.weights


def names(residents: Residents) -> list[str]:
    return list(residents.told())


def test_the_weights_are_measured(weights: int) -> None:
    files = sum(path.stat().st_size for path in (ROOT / "models" / "easel-tiny").rglob("*.safetensors"))
    # The files are in half precision, and the card says float32.
    assert 1.9 * files < weights < 2.1 * files


def test_without_a_budget_one_model_is_loaded_at_a_time(residents: Residents) -> None:
    for name in ("a", "b", "a"):
        residents.load(load(name, 0))
        assert names(residents) == [name]


def test_the_least_lately_used_leaves(residents: Residents, weights: int) -> None:
    budget = 2 * weights
    residents.load(load("a", budget))
    residents.load(load("b", budget))
    residents.use("a")
    residents.load(load("c", budget))
    assert names(residents) == ["a", "c"]
    with pytest.raises(EngineError, match="'b' is not loaded"):
        residents.use("b")


def test_a_model_larger_than_the_budget_is_loaded_alone(residents: Residents, weights: int) -> None:
    residents.load(load("a", weights // 2))
    assert names(residents) == ["a"]


def test_what_can_not_be_loaded_costs_only_itself(residents: Residents, tmp_path: Path) -> None:
    residents.load(load("a", ENOUGH))
    with pytest.raises(EngineError) as failed:
        residents.load(load("b", ENOUGH, TINY.model_copy(update={"pipeline": tmp_path})))
    assert failed.value.code is Code.MODEL_UNAVAILABLE
    assert names(residents) == ["a"]


def test_others_leave_a_model_their_memory(
    residents: Residents, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two fit on paper, and not in fact; from then on they take turns."""
    limited(monkeypatch, at_once=1)
    residents.load(load("a", ENOUGH))
    residents.load(load("b", ENOUGH))
    assert names(residents) == ["b"]
    assert "memory ran out: a left it to b" in capfd.readouterr().err
    monkeypatch.undo()
    residents.load(load("a", ENOUGH))
    assert names(residents) == ["a"], "what did not fit is remembered"


def test_a_model_that_fits_nowhere_is_named_with_the_remedy(
    residents: Residents, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, at_once=0)
    with pytest.raises(EngineError, match="'a' does not fit in the memory of auto: choose a smaller dtype") as failed:
        residents.load(load("a", ENOUGH))
    assert failed.value.code is Code.MODEL_UNAVAILABLE


def limited(monkeypatch: pytest.MonkeyPatch, *, at_once: int) -> None:
    """A machine in which torch has no memory for more models than that."""
    held: set[DiffusersEngine] = set()
    load_one, unload_one = DiffusersEngine.load, DiffusersEngine.unload

    def load_if_it_fits(engine: DiffusersEngine, card: ModelCard) -> None:
        if len(held) >= at_once:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            except torch.OutOfMemoryError as error:
                raise engine._named(error) from error
        load_one(engine, card)
        held.add(engine)

    def unload(engine: DiffusersEngine) -> None:
        held.discard(engine)
        unload_one(engine)

    monkeypatch.setattr(DiffusersEngine, "load", load_if_it_fits)
    monkeypatch.setattr(DiffusersEngine, "unload", unload)


def test_others_leave_a_batch_their_memory(residents: Residents, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = _Worker(ours, set())
        child._residents = residents
        for name in ("a", "b"):
            residents.load(load(name, ENOUGH))
        original = DiffusersEngine.render

        def render_if_it_fits(engine: DiffusersEngine, batch: Batch, *told: Any) -> Any:
            if len(names(residents)) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return original(engine, batch, *told)

        monkeypatch.setattr(DiffusersEngine, "render", render_if_it_fits)
        vast = Batch("a", Shape(800_000, 800_000, 1, 0.0), (ITEM,))
        with pytest.raises(EngineError):
            child._generate(vast)
        assert names(residents) == ["b", "a"], "it would not fit alone either"
        done = child._generate(Batch("a", Shape(96, 96, 1, 0.0), (ITEM,)))
        assert isinstance(done.results[0], Made)
        assert names(residents) == ["a"]
        residents.load(load("b", ENOUGH))
        assert names(residents) == ["b"], "what did not fit is remembered"


async def test_the_process_tells_what_it_has_and_goes_on_with_it(weights: int) -> None:
    loads: list[str] = []
    left: list[str] = []
    cards = dict.fromkeys(("a", "b", "c"), TINY)
    engine = EngineProcess(cards, hang_s=60, models_bytes=2 * weights, on_load=loads.append, on_leave=left.append)
    try:
        await engine.start("a")
        assert list(engine.loaded) == ["a"]
        for model in ("b", "a", "b", "a", "c", "a"):
            done = (await engine.generate(Batch(model, Shape(96, 96, 1, 0.0), (ITEM,)), lambda _: None)).done
            assert isinstance(done.results[0], Made)
        assert (loads, left) == (["a", "b", "c"], ["b"])
        assert sorted(engine.loaded) == ["a", "c"]
        assert engine.loaded["a"] == engine.loaded["c"] != ""
        assert (engine.most_images("a", 96 * 96) or 0) > (engine.most_images("a", 4096 * 4096) or 0) >= 1
        assert engine.most_images("unheard-of", 1) is None
    finally:
        await engine.stop()


class TestFootprint:
    measured = Footprint(weights=4_000, on_device=4_000, fixed=500, per_pixel=2.0, usable=10_000)

    def test_as_many_as_fit_beside_the_weights(self) -> None:
        assert self.measured.most_images(1_000, models_bytes=0) == 2
        assert self.measured.most_images(2_000, models_bytes=0) == 1
        assert self.measured.most_images(100, models_bytes=0) == 27

    def test_what_is_set_aside_for_models_is_not_for_batches(self) -> None:
        assert self.measured.most_images(100, models_bytes=6_000) == 17

    def test_one_is_always_tried(self) -> None:
        assert self.measured.most_images(1_000_000, models_bytes=0) == 1
        assert self.measured.most_images(10, models_bytes=20_000) == 1

    def test_offloaded_weights_take_nothing_from_batches(self) -> None:
        offloaded = Footprint(weights=4_000, on_device=0, fixed=500, per_pixel=2.0, usable=10_000)
        assert offloaded.most_images(1_000, models_bytes=0) == 4

    def test_nothing_is_said_of_what_was_not_measured(self) -> None:
        assert Footprint(weights=4_000).most_images(1_000, models_bytes=0) is None

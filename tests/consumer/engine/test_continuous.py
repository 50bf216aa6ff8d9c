"""Pictures that join and leave a running batch: each as it is alone, whoever else is there, in every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from consumer.engine.continuous import Drawn
from consumer.engine.contract import Batch, EngineError, Item, Made, Missed, Row, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.null import NullEngine
from ops.families import FAMILIES, Family, make_pipeline
from schemas.catalog import Defaults, ModelCard
from schemas.errors import Code

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:true_cfg_scale is passed"),
]

ROOT = Path(__file__).resolve().parents[3]


def row(name: str, steps: int, guidance: float, prompt: str, *, size: int, negative: str | None = None) -> Row:
    shape = Shape(size, size, steps, guidance, negative=negative is not None)
    return Row(shape, Item(name, prompt, seed=sum(map(ord, name)), negative_prompt=negative))


def rows_of(size: int) -> list[Row]:
    """Other steps, guidances, and lengths of prompts; the second and the third share theirs."""
    return [
        row("first", 6, 3.0, "a small red circle", size=size),
        row("short", 2, 3.0, "a large blue square on a yellow background", size=size),
        row("long", 9, 3.0, "a large green square on a yellow background", size=size),
        row("plain", 5, 0.0, "a star", size=size),
        row("negative", 3, 2.0, "a blue circle", negative="a square", size=size),
    ]


class Guests:
    """A company by plan: who comes before which round, and who is called off in which."""

    def __init__(self, joining: Mapping[int, Sequence[Row]], canceled: Mapping[str, int] | None = None) -> None:
        self._joining = joining
        self._canceled = dict(canceled or {})
        self.round = 1
        self.steps: list[dict[str, int]] = []
        self.gone: dict[str, int] = {}
        self.results: dict[str, Made | Missed] = {}
        self.ended_in: dict[str, int] = {}

    def joined(self) -> Sequence[Row]:
        self.round += 1
        return self._joining.get(self.round, ())

    def is_canceled(self, item: str) -> bool:
        return item in self._canceled and self.round >= self._canceled[item]

    def left(self, item: str, steps: int) -> None:
        self.gone[item] = steps

    def stepped(self, steps: Mapping[str, int]) -> None:
        self.steps.append(dict(steps))

    def ended(self, result: Made | Missed, seconds: float) -> None:
        assert seconds >= 0
        self.results[result.id] = result
        self.ended_in[result.id] = self.round

    def told(self, item: str) -> list[int]:
        return [steps[item] for steps in self.steps if item in steps]


def images_of(engine: DiffusersEngine, rows: Sequence[Row], guests: Guests) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def finish(drawn: Drawn) -> None:
        assert not isinstance(drawn.image, Exception), drawn.image
        found[drawn.row.item.id] = drawn.image

    engine.render_rows(rows, guests, finish)
    return found


def alone(engine: DiffusersEngine, one: Row) -> np.ndarray:
    image: np.ndarray = engine.render(Batch("", one.shape, (one.item,)), lambda _: None, lambda _: False)[0]
    return image


@pytest.fixture(scope="module")
def tiny() -> DiffusersEngine:
    engine = DiffusersEngine()
    defaults = Defaults(width=96, height=96, steps=12, guidance=3.0)
    engine.load(ModelCard(pipeline=ROOT / "models" / "easel-tiny", defaults=defaults))
    return engine


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusersEngine:
    name: Family = request.param
    folder = tmp_path_factory.mktemp(name)
    make_pipeline(name, "tiny").save_pretrained(folder)
    engine = DiffusersEngine()
    engine.load(ModelCard(pipeline=folder, defaults=Defaults(width=64, height=64, steps=2)))
    return engine


def check_parity(engine: DiffusersEngine, size: int) -> None:
    first, short, long, plain, negative = rows_of(size)
    guests = Guests({3: [short, long], 4: [plain], 6: [negative]})
    images = images_of(engine, [first], guests)
    for one in (first, short, long, plain, negative):
        solo = alone(engine, one)
        assert np.ptp(solo) > 0.01
        assert np.abs(images[one.item.id] - solo).max() <= 1e-5
        assert guests.told(one.item.id) == list(range(1, one.shape.steps + 1))
    assert np.abs(images["short"] - images["long"]).max() > 1e-3


def test_the_model_that_is_shipped_keeps_its_pictures(tiny: DiffusersEngine) -> None:
    check_parity(tiny, 96)


def test_every_family_keeps_its_pictures(family: DiffusersEngine) -> None:
    check_parity(family, 64)


def test_one_that_is_by_itself_is_the_same_to_the_bit(tiny: DiffusersEngine) -> None:
    first, *_ = rows_of(96)
    assert np.array_equal(images_of(tiny, [first], Guests({}))["first"], alone(tiny, first))


def test_rows_at_different_steps_are_one_call_of_the_denoiser(tiny: DiffusersEngine) -> None:
    first, short, long, plain, _ = rows_of(96)
    seen: list[list[float]] = []
    # A picture with guidance is two rows of the call, one without is one.
    hook = tiny._pipeline.unet.register_forward_pre_hook(
        lambda _, given: seen.append([float(t) for t in given[1].expand(len(given[0]))])
    )
    images_of(tiny, [first], Guests({2: [short, long, plain]}))
    hook.remove()
    assert [len(call) for call in seen] == [2, 7, 7, 5, 5, 5, 2, 2, 2, 2]
    assert len(set(seen[1])) > 1


def test_a_short_one_is_done_before_a_long_one_that_came_first(tiny: DiffusersEngine) -> None:
    _, short, long, _, _ = rows_of(96)
    guests = Guests({3: [short]})
    tiny.generate_rows([long], guests)
    assert list(guests.results) == ["short", "long"]
    # Two steps, beginning with the round in which it came; then its picture is made before the next.
    assert guests.ended_in["short"] == 5


def test_what_is_called_off_leaves_and_the_others_never_notice(tiny: DiffusersEngine) -> None:
    first, _, long, _, _ = rows_of(96)
    guests = Guests({2: [long]}, canceled={"long": 4})
    tiny.generate_rows([first], guests)
    assert guests.gone == {"long": 2}
    assert list(guests.results) == ["first"]
    result = guests.results["first"]
    assert isinstance(result, Made)
    exact = (alone(tiny, first) * 255).round().astype(int)
    assert np.abs(result.pixels.astype(int) - exact).max() <= 1


def test_one_whose_steps_are_done_is_made_though_it_is_called_off(tiny: DiffusersEngine) -> None:
    _, short, *_ = rows_of(96)
    guests = Guests({}, canceled={"short": 3})
    tiny.generate_rows([short], guests)
    assert isinstance(guests.results["short"], Made)
    assert guests.gone == {}


def test_one_that_fails_by_itself_is_missed_and_the_others_go_on(tiny: DiffusersEngine) -> None:
    first, *_ = rows_of(96)
    odd = row("odd", 4, 3.0, "a star", size=97)
    guests = Guests({2: [odd]})
    tiny.generate_rows([first], guests)
    missed = guests.results["odd"]
    assert isinstance(missed, Missed)
    assert missed.code is Code.GENERATION_FAILED
    assert "ValueError" in missed.message
    assert isinstance(guests.results["first"], Made)


def test_a_call_that_fails_ends_all_and_the_engine_goes_on(tiny: DiffusersEngine) -> None:
    first, short, long, *_ = rows_of(96)

    def no_memory(_module: object, given: tuple[object, ...]) -> None:
        if len(given[0]) > 4:  # type: ignore[arg-type]
            raise MemoryError

    hook = tiny._pipeline.unet.register_forward_pre_hook(no_memory)
    guests = Guests({2: [short, long]})
    with pytest.raises(EngineError) as failure:
        tiny.generate_rows([first], guests)
    assert failure.value.code is Code.OUT_OF_MEMORY
    guests = Guests({2: [short]})
    tiny.generate_rows([first], guests)
    hook.remove()
    assert set(guests.results) == {"first", "short"}


def test_gradients_are_as_they_were_afterwards(tiny: DiffusersEngine) -> None:
    import torch

    first, _, long, *_ = rows_of(96)
    # The one that came first leaves first.
    tiny.generate_rows([first], Guests({2: [long]}))
    assert torch.is_grad_enabled()


def test_the_engine_without_a_model_does_alike() -> None:
    engine, guests = NullEngine(), Guests({2: rows_of(64)[1:3]}, canceled={"long": 4})
    engine.generate_rows(rows_of(64)[:1], guests)
    assert list(guests.results) == ["short", "first"]
    assert guests.gone == {"long": 2}
    assert guests.told("short") == [1, 2]
    (solo,) = engine.generate(Batch("", rows_of(64)[1].shape, (rows_of(64)[1].item,)), lambda _: None, lambda _: False)
    short = guests.results["short"]
    assert isinstance(short, Made)
    assert isinstance(solo, Made)
    assert np.array_equal(short.pixels, solo.pixels)

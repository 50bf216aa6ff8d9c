"""The image check: what it finds is blocked, blurred or flagged, in any company, and never let through by mistake."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from consumer.engine.contract import Batch, EngineError, Item, Made, Missed, Pixels, Row, Shape
from consumer.engine.diffusers import DiffusersEngine
from consumer.engine.screening import Screen, blurred, load_screen
from consumer.engine.weights import unusable_files
from ops.families.checker import write_checker
from schemas.catalog import Defaults, ModelCard, Safety
from schemas.errors import Code
from tests.consumer.engine.test_continuous import Guests

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

Policy = Literal["block", "blur", "flag"]
Load = Callable[[Policy], DiffusersEngine]
ITEMS = tuple(Item(str(seed), prompt, seed) for seed, prompt in enumerate(("a red circle", "a blue square", "a star")))
UNWANTED = "1"
ROOT = Path(__file__).resolve().parents[3]
SHAPE = Shape(96, 96, 4, 3.0)


def card_of(safety: Safety | None) -> ModelCard:
    given = Defaults(width=96, height=96, steps=4, guidance=3.0)
    return ModelCard(pipeline=ROOT / "models" / "easel-tiny", defaults=given, safety=safety)


def made(engine: DiffusersEngine, *items: Item) -> dict[str, Made | Missed]:
    return {result.id: result for result in engine.generate(Batch("m", SHAPE, items), lambda _: None, lambda _: False)}


@pytest.fixture(scope="module")
def unchecked() -> dict[str, Pixels]:
    engine = DiffusersEngine()
    engine.load(card_of(None))
    found = made(engine, *ITEMS)
    engine.unload()
    return {name: result.pixels for name, result in found.items() if isinstance(result, Made)}


@pytest.fixture(scope="module")
def checker(unchecked: dict[str, Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds the picture of the second item, and no other."""
    others = [pixels for name, pixels in unchecked.items() if name != UNWANTED]
    return write_checker(tmp_path_factory.mktemp("checker"), unchecked[UNWANTED], others)


@pytest.fixture
def load(checker: Path) -> Iterator[Load]:
    engine = DiffusersEngine()

    def loaded(policy: Policy) -> DiffusersEngine:
        engine.load(card_of(Safety(checker=checker, policy=policy)))
        return engine

    yield loaded
    engine.unload()


def test_what_is_blocked_does_not_leave_the_engine(load: Load, unchecked: dict[str, Pixels]) -> None:
    found = made(load("block"), *ITEMS)
    blocked = found.pop(UNWANTED)
    assert isinstance(blocked, Missed) and blocked.code is Code.CONTENT_BLOCKED
    for name, mate in found.items():
        assert isinstance(mate, Made) and not mate.flagged
        assert np.array_equal(mate.pixels, unchecked[name])


def test_what_is_blurred_shows_nothing_of_it(load: Load, unchecked: dict[str, Pixels]) -> None:
    found = made(load("blur"), *ITEMS)[UNWANTED]
    assert isinstance(found, Made) and found.flagged and found.blurred
    assert found.pixels.shape == unchecked[UNWANTED].shape and found.pixels.dtype == np.uint8
    assert np.array_equal(found.pixels, blurred(unchecked[UNWANTED]))
    assert not np.array_equal(found.pixels, unchecked[UNWANTED])


def test_what_is_flagged_is_as_it_was_made(load: Load, unchecked: dict[str, Pixels]) -> None:
    found = made(load("flag"), *ITEMS)
    assert [(result.flagged, result.blurred) for result in found.values() if isinstance(result, Made)] == [
        *((False, False), (True, False), (False, False))
    ]
    flagged = found[UNWANTED]
    assert isinstance(flagged, Made) and np.array_equal(flagged.pixels, unchecked[UNWANTED])


def test_company_changes_nothing(load: Load) -> None:
    engine = load("flag")
    for item in ITEMS:
        (alone,) = made(engine, item).values()
        assert isinstance(alone, Made) and alone.flagged == (item.id == UNWANTED)


def test_a_picture_that_joins_a_running_batch_is_checked_too(load: Load) -> None:
    guests = Guests({2: [Row(SHAPE, ITEMS[1])]})
    load("block").generate_rows([Row(SHAPE, ITEMS[0])], guests)
    assert isinstance(guests.results["0"], Made)
    blocked = guests.results[UNWANTED]
    assert isinstance(blocked, Missed) and blocked.code is Code.CONTENT_BLOCKED


def test_the_revision_names_the_policy_and_the_checker(load: Load, tmp_path: Path, checker: Path) -> None:
    bare = DiffusersEngine()
    bare.load(card_of(None))
    block, flag = load("block").weights_revision, load("flag").weights_revision
    assert block.startswith(f"{bare.weights_revision}~block-") and flag.startswith(f"{bare.weights_revision}~flag-")
    other = shutil.copytree(checker, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    save_file(
        {**tensors, "concept_embeds_weights": tensors["concept_embeds_weights"] - 0.01}, other / "model.safetensors"
    )
    changed = load_screen(card_of(Safety(checker=other)), "cpu")
    assert changed is not None and not block.endswith(changed.revision)


def test_a_check_that_fails_lets_nothing_through(load: Load) -> None:
    class Broken:
        nbytes = 0

        def finds(self, pixels: Pixels) -> bool:
            raise RuntimeError("no")

    engine = load("flag")
    engine._screen = Screen(Broken(), "flag", "x")
    with pytest.raises(EngineError) as failure:
        made(engine, *ITEMS)
    assert failure.value.code is Code.GENERATION_FAILED


def test_a_blur_keeps_no_shapes() -> None:
    squares = np.indices((96, 64)).sum(axis=0) // 2 % 2 * 255
    pixels = np.repeat(squares[..., None], 3, axis=2).astype(np.uint8)
    found = blurred(pixels)
    assert found.shape == pixels.shape
    assert found.std() < 5


class TestWhatIsRefused:
    def refusal(self, safety: Safety) -> str:
        with pytest.raises(EngineError) as failure:
            load_screen(card_of(safety), "cpu")
        assert failure.value.code is Code.MODEL_UNAVAILABLE
        return failure.value.message

    def test_a_file_that_lacks_weights(self, checker: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(checker, tmp_path / "checker")
        tensors = load_file(folder / "model.safetensors")
        del tensors["concept_embeds"]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        assert "lacks 1 of its weights, such as concept_embeds" in self.refusal(Safety(checker=folder))

    def test_a_pickle(self, checker: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(checker, tmp_path / "checker")
        torch.save({}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        assert "pytorch_model.bin is a pickle" in self.refusal(Safety(checker=folder))

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        assert "holds no config.json" in self.refusal(Safety(checker=tmp_path))
        assert list(unusable_files(card_of(Safety(checker=tmp_path)))) == [self.refusal(Safety(checker=tmp_path))]

    def test_one_of_the_hub_that_is_not_here(self) -> None:
        safety = Safety.model_validate({"checker": {"hub": "nobody/nothing", "revision": "0" * 40}})
        assert "`easel model warm` fetches it" in self.refusal(safety)


def test_the_published_names_of_the_weights_are_known(
    checker: Path, tmp_path: Path, unchecked: dict[str, Pixels]
) -> None:
    folder = shutil.copytree(checker, tmp_path / "checker")
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("vision_model.", "vision_model.vision_model.", 1): part for name, part in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    screen = load_screen(card_of(Safety(checker=folder)), "cpu")
    assert screen is not None
    assert [isinstance(screen.passed(name, pixels), Missed) for name, pixels in unchecked.items()] == [
        False,
        True,
        False,
    ]

"""``models.yaml``: limits, defaults, styles, and what a request costs, to the milli-unit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import ModelCard, Style
from schemas.errors import Code, EaselError, ErrorType
from schemas.requests import GenerationRequest, Parameters
from tests.schemas.files import models, problem_of_models

ID = "019aa4d2-6c00-7000-8000-000000000001"
EVERY_KIND = ["text_to_image", "image_to_image", "inpainting"]
DRAWN = 3_695_863_855
"""The seed of that id: a job that is sent again by another release must make the same pictures."""


def card(**changes: Any) -> ModelCard:
    return ModelCard.model_validate(
        {
            "pipeline": "models/m",
            "defaults": {"width": 512, "height": 256, "steps": 20, "guidance": 4.5},
            "limits": {
                "min_side": 64,
                "max_side": 1024,
                "multiple_of": 8,
                "pixels": 1_000_000,
                "steps": 50,
                "images": 4,
            },
            "styles": {"ink": {"prompt_suffix": ", ink drawing", "negative_suffix": "photo"}, "plain": {}},
            **changes,
        }
    )


def ask(**fields: Any) -> GenerationRequest:
    return GenerationRequest.model_validate({"prompt": "a red circle", "model": "m", **fields})


def refused(request: GenerationRequest, by: ModelCard | None = None) -> EaselError:
    with pytest.raises(EaselError) as caught:
        (by or card()).resolve(request, ID)
    assert caught.value.code is Code.LIMIT_EXCEEDED
    return caught.value


class TestResolve:
    def test_what_is_left_open_gets_the_defaults(self) -> None:
        got = card().resolve(ask(), ID)
        assert (got.width, got.height, got.steps, got.guidance, got.images) == (512, 256, 20, 4.5, 1)

    def test_what_is_asked_for_stands(self) -> None:
        got = card().resolve(ask(width=64, height=1024, steps=1, guidance=0, images=4, seed=0, quality=7), ID)
        assert (got.width, got.height, got.steps, got.guidance, got.images) == (64, 1024, 1, 0.0, 4)
        assert (got.seed, got.quality) == (0, 7)

    def test_a_seed_is_drawn_from_the_id_and_so_the_same_again(self) -> None:
        other = "019aa4d2-6c00-7000-8000-000000000002"
        assert card().resolve(ask(), ID).seed == card().resolve(ask(), ID).seed == DRAWN
        assert card().resolve(ask(), other).seed != DRAWN

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"width": 56}, "width"),
            ({"width": 1032}, "width"),
            ({"height": 100}, "height"),
            ({"width": 1024, "height": 1024}, "width"),
            ({"steps": 51}, "steps"),
            ({"guidance": 20.5}, "guidance"),
            ({"images": 5}, "images"),
            ({"style": "oil"}, "style"),
            ({"adapters": [{"name": "ink"}]}, "adapters"),
            ({"source_image": "outputs/a"}, "source_image"),
            ({"source_image": "outputs/a", "mask_image": "outputs/a"}, "mask_image"),
        ],
    )
    def test_what_the_model_cant_do_is_refused_by_field(self, fields: dict[str, Any], param: str) -> None:
        assert refused(ask(**fields)).param == param

    @pytest.mark.parametrize("fields", [{"mask_image": "outputs/a"}, {"strength": 0.5}])
    def test_what_belongs_to_a_source_needs_one(self, fields: dict[str, Any]) -> None:
        with pytest.raises(EaselError, match="needs a source_image") as caught:
            card(kinds=EVERY_KIND).resolve(ask(**fields), ID)
        assert (caught.value.code, caught.value.param) == (Code.INVALID_REQUEST, *fields)

    def test_a_source_has_the_strength_of_its_kind(self) -> None:
        able = card(kinds=EVERY_KIND)
        assert able.resolve(ask(), ID).strength is None
        assert able.resolve(ask(source_image="a"), ID).strength == 0.6
        assert able.resolve(ask(source_image="a", mask_image="b"), ID).strength == 1.0
        assert able.resolve(ask(source_image="a", strength=0.25), ID).strength == 0.25

    def test_previews_are_those_of_the_models_entry(self) -> None:
        assert not card().resolve(ask(previews=True), ID).previews
        assert card(previews_every=4).resolve(ask(previews=True), ID).previews
        assert not card(previews_every=4).resolve(ask(), ID).previews

    def test_at_the_limits(self) -> None:
        got = card().resolve(ask(width=1024, height=976, steps=50, guidance=20, images=4), ID)
        assert got.width * got.height <= 1_000_000

    def test_a_style_adds_its_words(self) -> None:
        got = card().resolve(ask(style="ink", negative_prompt="blurry"), ID)
        assert (got.prompt, got.negative_prompt) == ("a red circle, ink drawing", "blurry, photo")
        assert card().resolve(ask(style="ink"), ID).negative_prompt == "photo"

    def test_a_style_without_words_adds_none(self) -> None:
        got = card().resolve(ask(style="plain"), ID)
        assert (got.prompt, got.negative_prompt) == ("a red circle", None)

    def test_an_empty_negative_prompt_is_none(self) -> None:
        # Else two requests that mean the same would be two batches, and two entries of a cache.
        assert card().resolve(ask(negative_prompt="  "), ID).negative_prompt is None

    def test_a_refused_style_tells_the_known_ones(self) -> None:
        assert "ink, plain" in refused(ask(style="oil")).message
        assert "it has: none" in refused(ask(style="oil"), card(styles={})).message


def parameters(**changes: Any) -> Parameters:
    return Parameters.model_validate(
        {
            "model": "m",
            "prompt": "p",
            "images": 1,
            "width": 1024,
            "height": 1024,
            "steps": 1,
            "guidance": 1.0,
            "seed": 0,
        }
        | changes
    )


class TestCost:
    """1,000 milli-units are one step of one 1024x1024 picture."""

    @pytest.mark.parametrize(
        ("given_parameters", "card_changes", "price", "milliunits"),
        [
            ({}, {}, "1", 1_000),
            ({"steps": 30}, {}, "1", 30_000),
            ({"images": 10}, {}, "1", 10_000),
            ({"steps": 10, "source_image": "a", "strength": 0.7}, {}, "1", 7_000),
            ({"steps": 10, "source_image": "a", "strength": 0.71}, {}, "1", 8_000),
            ({"steps": 4, "source_image": "a", "strength": 0.001}, {}, "1", 1_000),
            ({"guidance": 1.01}, {}, "1", 2_000),
            ({"guidance": 7.0}, {"guidance_doubles_above": None}, "1", 1_000),
            ({"guidance": 0.5}, {"guidance_doubles_above": 0.0}, "1", 2_000),
            ({"width": 512, "height": 512}, {}, "1", 250),
            ({"width": 96, "height": 96, "steps": 12}, {}, "1", 106),  # 105.47
            ({"width": 96, "height": 96, "steps": 12, "guidance": 3.0}, {}, "1", 211),  # 210.94
            ({"width": 96, "height": 96, "steps": 12, "guidance": 3.0, "images": 3}, {}, "1", 633),  # each rounded up
            ({"width": 64, "height": 64}, {"cost_factor": "0.001"}, "1", 1),
            ({}, {"cost_factor": "2.5"}, "1", 2_500),
            ({}, {"cost_factor": "0.333"}, "3", 999),
            ({}, {"cost_factor": "0.333"}, "3.001", 1_000),  # 999.333
            ({}, {"cost_factor": "0.1"}, "0.1", 10),  # in floats, 10.000000000000002: 11
            ({}, {}, "0", 0),
            ({"width": 8_192, "height": 8_192, "steps": 200, "guidance": 50.0, "images": 10}, {}, "1", 256_000_000),
        ],
    )
    def test_vectors(
        self, given_parameters: dict[str, Any], card_changes: dict[str, Any], price: str, milliunits: int
    ) -> None:
        assert card(**card_changes).cost_milliunits(parameters(**given_parameters), Decimal(price)) == milliunits

    sizes = st.integers(2, 1024).map(lambda side: side * 8)
    factors = st.decimals("0.001", "9999", places=3)

    @given(
        images=st.integers(1, 10),
        width=sizes,
        height=sizes,
        steps=st.integers(1, 200),
        doubled=st.booleans(),
        factor=factors,
        price=factors,
    )
    def test_it_is_the_formula_without_any_rounding_on_the_way(
        self, images: int, width: int, height: int, steps: int, doubled: bool, factor: Decimal, price: Decimal
    ) -> None:
        cost = card(cost_factor=factor).cost_milliunits(
            parameters(images=images, width=width, height=height, steps=steps, guidance=2.0 if doubled else 1.0), price
        )
        numerator = 1000 * steps * width * height * (2 if doubled else 1) * int(factor * 1000) * int(price * 1000)
        denominator = 2**20 * 10**6
        assert cost == images * -(-numerator // denominator)
        assert cost == images * ceil(Fraction(numerator, denominator))

    @given(st.lists(st.integers(1, 200), min_size=3, max_size=3), st.lists(st.integers(0, 200), min_size=3, max_size=3))
    def test_more_never_costs_less(self, less: list[int], added: list[int]) -> None:
        costs = [
            card().cost_milliunits(parameters(width=width * 8, height=height * 8, steps=steps))
            for width, height, steps in (less, [a + b for a, b in zip(less, added, strict=True)])
        ]
        assert costs[0] <= costs[1]

    def test_a_picture_costs_the_same_in_any_company(self) -> None:
        # A partial delivery settles whole pictures: their costs must add up to what was held.
        one = card().cost_milliunits(parameters(width=96, height=96, steps=7))
        assert card().cost_milliunits(parameters(width=96, height=96, steps=7, images=9)) == 9 * one


class TestFile:
    TEXT = """
    version: 3
    models:
      easel-tiny:
        pipeline: models/easel-tiny
        defaults: {width: 96, height: 96, steps: 12, guidance: 3.0}
      big:
        pipeline: /srv/models/big
        pool: large
        defaults: {width: 1024, height: 1024, steps: 8}
    """

    def test_paths_are_taken_from_its_folder(self, tmp_path: Path) -> None:
        catalog = models(tmp_path, self.TEXT)
        assert catalog.card("easel-tiny").pipeline == tmp_path.resolve() / "models/easel-tiny"
        assert catalog.card("big").pipeline == Path("/srv/models/big")

    def test_pools(self, tmp_path: Path) -> None:
        assert models(tmp_path, self.TEXT).pools() == ["default", "large"]

    def test_an_unknown_model_tells_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(EaselError) as caught:
            models(tmp_path, self.TEXT).card("easel-tny")
        assert (caught.value.code, caught.value.param) == (Code.MODEL_NOT_FOUND, "model")
        assert caught.value.type is ErrorType.NOT_FOUND
        assert "big, easel-tiny" in caught.value.message

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("pool: large", "pools: large", "models.yaml:8: models.big.pools:"),
            ("pool: large", "pool: 'a b'", "models.yaml:8: models.big.pool:"),
            ("pool: large", "engine: torch", "models.yaml:8: models.big.engine:"),
            ("pool: large", "attempts: 0", "models.yaml:8: models.big.attempts:"),
            ("pool: large", "cost_factor: 0", "models.yaml:8: models.big.cost_factor:"),
            ("pool: large", "cost_factor: 0.0001", "models.yaml:8: models.big.cost_factor:"),
            ("pool: large", "max_batch_images: 0", "models.yaml:8: models.big.max_batch_images:"),
            ("pool: large", "limits: {steps: 7}", "models.yaml:9: models.big.defaults.steps: is outside"),
            ("pool: large", "limits: {max_side: 1000}", "models.yaml:9: models.big.defaults.width: is outside"),
            ("pool: large", "limits: {pixels: 1000000}", "models.yaml:9: models.big.defaults.width: is outside"),
            ("height: 1024", "height: 1020", "models.yaml:9: models.big.defaults.height: is outside"),
            ("steps: 8", "steps: 8, guidance: 21", "models.yaml:9: models.big.defaults.guidance: is outside"),
            ("steps: 8", "steps: 8, guidance: .nan", "models.yaml:9: models.big.defaults.guidance:"),
            ("steps: 8", "step: 8", "models.yaml:9: models.big.defaults.step:"),
            ("pipeline: /srv/models/big", "pool: x", "models.yaml:8: pool: stands twice"),
            ("  big:", "  Big Model:", "models.yaml:6: models.Big Model"),
        ],
    )
    def test_a_mistake_is_told_by_its_line(self, tmp_path: Path, old: str, new: str, expected: str) -> None:
        assert old in self.TEXT
        assert expected in problem_of_models(tmp_path, self.TEXT.replace(old, new))

    def test_no_models(self, tmp_path: Path) -> None:
        assert "models.yaml:2: models:" in problem_of_models(tmp_path, "version: 1\nmodels: {}\n")


def test_styles_are_words_only() -> None:
    with pytest.raises(ValueError, match="negative"):
        Style.model_validate({"prompt_suffix": "x", "negative": "y"})


class TestDraining:
    FILE = """
        models:
          m: {pipeline: p, pool: big, defaults: {width: 512, height: 512, steps: 4}}
        draining: [POOL]
        """

    def test_a_pool_of_a_model(self, tmp_path: Path) -> None:
        assert models(tmp_path, self.FILE.replace("POOL", "big")).draining == ["big"]

    def test_a_pool_that_no_model_has(self, tmp_path: Path) -> None:
        problem = problem_of_models(tmp_path, self.FILE.replace("POOL", "huge"))
        assert problem == "models.yaml:3: draining.0: no model has the pool 'huge'"

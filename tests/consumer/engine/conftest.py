"""The catalogue's cards that the engine tests run on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.catalog import Defaults, ModelCard

# As the worker does for its engine, and before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def random_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion pipeline of random weights: another family than the model that is shipped."""
    from tests.consumer.engine.pipelines import write_random_pipeline

    return write_random_pipeline(tmp_path_factory.mktemp("pipelines") / "random-sd")


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelCard]:
    """A card for each family that people serve: tiny, with random weights."""
    from ops.families import FAMILIES, make_pipeline

    found: dict[str, ModelCard] = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp("families") / family
        make_pipeline(family, "tiny").save_pretrained(folder)
        found[family] = ModelCard(
            pipeline=folder,
            defaults=Defaults(width=64, height=64, steps=2, guidance=4.0),
            # Flux takes its guidance as a number: there is no second forward for a negative prompt.
            guidance_doubles_above=None if family == "flux" else 1.0,
        )
    return found


@pytest.fixture(scope="session")
def cards(random_pipeline: Path, families: dict[str, ModelCard]) -> dict[str, ModelCard]:
    """One card for each kind of engine, and each family of pipelines."""
    return {
        "null": ModelCard(pipeline=ROOT, engine="null", defaults=Defaults(width=64, height=64, steps=2, guidance=2.0)),
        "easel-tiny": ModelCard(
            pipeline=ROOT / "models" / "easel-tiny", defaults=Defaults(width=96, height=96, steps=4, guidance=3.0)
        ),
        "random-sd": ModelCard(pipeline=random_pipeline, defaults=Defaults(width=64, height=64, steps=2, guidance=2.0)),
        **families,
    }

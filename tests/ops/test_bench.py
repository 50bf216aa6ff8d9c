"""The benches run, measure what they say, and end with the line that programs read."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from consumer.admission.batch import decide_batch
from consumer.admission.fleet_view import NO_FLEET
from consumer.admission.state import PartitionState
from ops.bench import bare
from ops.bench.engine.crowd import crowd
from ops.bench.report import BenchError, Report, Spread, conditions, save
from ops.bench.requests import INSTALLATION, make_requests
from ops.bench.sampling import Sampler
from tests.ops.cli_process import REPOSITORY, Ended, easel
from tests.test_layering import LAYERS, violations

ALGORITHMS = ("HS256", "ES256", "EdDSA")


def bench(folder: Path, *arguments: str, timeout_s: float = 100.0) -> Ended:
    models = {"EASEL_MODELS": str(REPOSITORY / "models.yaml")}
    ended = easel("bench", *arguments, cwd=folder, variables=models, timeout_s=timeout_s)
    assert ended.code == 0, ended.err
    return ended


def saved(folder: Path, name: str) -> dict[str, Any]:
    (path,) = (folder / "bench-results").glob(f"{name}-*.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_admission(tmp_path: Path) -> None:
    ended = bench(tmp_path, "admission", "--seconds", "0.2")
    *table, last = ended.out.splitlines()
    line = json.loads(last)
    assert list(line) == ["hs256_per_s", "es256_per_s", "eddsa_per_s", "bare_hs256_per_s", "ratio_hs256", "cores"]
    assert all(value > 0 for value in line.values())
    # What it does beside verifying can't be had for nothing.
    assert line["ratio_hs256"] < 1
    assert any("EdDSA, ratio" in row for row in table)

    content = saved(tmp_path, "admission")
    assert content["result"] == line
    assert content["conditions"]["packages"]["PyJWT"]
    rounds = content["measurements"]["rounds"]["HS256"]
    assert len(rounds["easel"]) == len(rounds["bare"]) == 5
    assert line["hs256_per_s"] == round(statistics.median(pace["per_s"] for pace in rounds["easel"]))
    for profile in content["measurements"]["profile"].values():
        assert profile["samples"] > 0
        assert math.isclose(sum(profile["shares"].values()), 1)
        assert profile["shares"]["signature"] > 0


@pytest.mark.system
@pytest.mark.timeout(600)
def test_engine(tmp_path: Path) -> None:
    ended = bench(tmp_path, "engine", "--pairs", "1", "--rounds", "1", "--share", "0.1", "--json", timeout_s=580)
    (only,) = ended.out.splitlines()
    line = json.loads(only)
    assert list(line) == ["engine_vs_bare", "worker_vs_bare", "worker_vs_service", "latency_vs_bare_single"]
    assert all(value > 0 for value in line.values())
    found = saved(tmp_path, "engine")["measurements"]
    assert {size: one["same_pictures"] for size, one in found["batch_sizes"].items()} == {"1": 1, "8": 8}
    (round_,) = found["rounds"]
    for served in (round_["easel"], round_["service"]):
        assert {clients: len(one["latencies_ms"]) for clients, one in served.items()} == {"1": 2, "8": 8, "32": 32}
    assert round_["batches"]["1"] == 1.0 < round_["batches"]["32"] <= 8.0
    assert all(0 <= idle < 1 for idle in round_["idle"].values())
    for parts in round_["cpu_ms"].values():
        assert list(parts) == ["engine", "worker", "admission", "kafka", "store", "clients"]
        assert parts["engine"] > parts["worker"] > 0
    (plot,) = (tmp_path / "bench-results").glob("engine-*.svg")
    assert plot.stat().st_size > 10_000


async def test_each_of_a_crowd_asks_again_when_it_has_its_picture() -> None:
    asked: list[int] = []
    at_once: list[int] = []

    async def ask(client: int) -> None:
        assert client not in at_once
        at_once.append(client)
        assert len(at_once) <= 3
        await asyncio.sleep(0.02)
        at_once.remove(client)
        asked.append(client)

    found = await crowd(3, 12, ask)
    assert {client: asked.count(client) for client in range(3)} == {0: 4, 1: 4, 2: 4}
    assert len(found.latencies_ms) == 12
    assert found.seconds >= 0.08
    assert found.per_s == 12 / found.seconds
    assert 20 <= found.percentile(50) <= found.percentile(99) <= max(found.latencies_ms)


def test_a_crowd_ends_with_the_first_that_fails() -> None:
    async def ask(client: int) -> None:
        await asyncio.sleep(0.01 if client else 60)
        raise BenchError("no picture")

    with pytest.raises(BenchError, match="no picture"):
        asyncio.run(crowd(2, 4, ask))


def test_json_belongs_behind_the_name(tmp_path: Path) -> None:
    ended = easel("bench", "--json", "admission", cwd=tmp_path)
    assert ended.code == 2
    assert "easel bench admission --json" in ended.err


def test_without_the_model_it_says_what_to_do(tmp_path: Path) -> None:
    ended = easel("bench", "engine", cwd=tmp_path)
    assert ended.code == 4
    assert "models.yaml" in ended.err
    assert not (tmp_path / "bench-results").exists()


@pytest.mark.parametrize("rival", ["bare.py", "usual_service.py"])
def test_what_easel_is_measured_against_knows_nothing_of_it(rival: str) -> None:
    assert violations([Path("ops/bench", rival)], {*LAYERS, "tests"}) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_bare_loop_verifies_what_it_is_given(algorithm: Any) -> None:
    signed = make_requests(algorithm, 3).signed
    bare.verify(signed, algorithm, INSTALLATION)
    with pytest.raises(jwt.InvalidSignatureError):
        bare.verify([signed[0]._replace(token=signed[0].token[:-8] + "AAAAAAAA")], algorithm, INSTALLATION)
    for changes in ({"body": b"{}"}, {"event_id": "x"}, {"event_type": "x"}):
        with pytest.raises(ValueError, match="another request's"):
            bare.verify([signed[0]._replace(**changes)], algorithm, INSTALLATION)
    with pytest.raises(jwt.InvalidAudienceError):
        bare.verify(signed, algorithm, "another")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_request_is_accepted_and_all_is_written_of_it(algorithm: Any) -> None:
    requests = make_requests(algorithm, 16)
    state = PartitionState()
    state.next_offsets = dict.fromkeys(requests.rules.inputs.values(), 0)
    batch = decide_batch(state, requests.records, requests.rules, None, NO_FLEET)
    assert [decision.what for decision in batch.decisions].count("accepted") == 16
    written = [out.topic for out in batch.outgoing(state, requests.rules)]
    topics = requests.rules.topics
    assert {topic: written.count(topic) for topic in dict.fromkeys(written)} == {
        topics.results: 16,
        topics.usage: 16,
        topics.jobs("default"): 16,
        # Each request, each of the eight accounts, and how far was read.
        topics.ledger: 16 + 8 + 1,
    }


def test_ratios_are_of_what_ran_side_by_side() -> None:
    # The machine was twice as slow during the second pair: that is neither's doing.
    assert Spread.of_ratios([80, 40, 90], [100, 50, 100]) == Spread(0.8, 0.8, 0.9)


def test_a_result_names_its_conditions(tmp_path: Path) -> None:
    found = conditions(["PyJWT", "no-such-package"])
    assert found["packages"]["no-such-package"] is None
    assert len(found["bare_sha256"]) == 64
    path = save(Report("some", {"ratio": 1}, [], {}), found, tmp_path / "new")
    content = json.loads(path.read_text())
    assert (content["bench"], content["result"], content["conditions"]) == ("some", {"ratio": 1}, found)


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_samples_belong_to_the_innermost_named_part() -> None:
    with Sampler({__name__: "here", "ops.bench.bare": "elsewhere"}) as sampler:
        spin(0.3)
    assert sampler.samples > 0
    assert sampler.shares() == {"here": 1.0, "elsewhere": 0.0}
    taken = sampler.samples
    spin(0.05)
    assert sampler.samples == taken

"""Health, metrics, logs and fault points: what both stages share."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consumer.faults import EXIT_CODE, POINTS
from consumer.health import HealthServer, Readiness
from consumer.metric_defs import DEFINITIONS
from consumer.metrics import Metrics, UnknownMetricError, render_markdown
from transport.logs import prompt_facts, show_prompts

ROOT = Path(__file__).resolve().parents[2]


class Served:
    def __init__(self) -> None:
        self.reasons: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.metrics = Metrics()
        self.server = HealthServer(
            "127.0.0.1", 0, self.metrics, lambda: Readiness(self.reasons, self.notes), setting="EASEL_X_PORT"
        )

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.server.port}{path}", timeout=5)


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    with made.server:
        yield made


def test_ready_says_why_not(served: Served) -> None:
    assert served.get("/health/ready").status_code == 200
    served.reasons = ("partition 3: restoring",)
    answer = served.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["partition 3: restoring"]}


def test_a_note_holds_nothing_up(served: Served) -> None:
    served.notes = ("the pool 'big' is draining",)
    answer = served.get("/health/ready")
    assert (answer.status_code, answer.json()["notes"]) == (200, ["the pool 'big' is draining"])
    assert served.get("/health/live").status_code == 200


def test_metrics_are_served_as_prometheus_reads_them(served: Served) -> None:
    served.metrics.inc("easel_admission_decisions_total", decision="accepted", code="")
    answer = served.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'easel_admission_decisions_total{code="",decision="accepted"} 1.0' in answer.text


def test_what_is_not_there_is_told_in_the_one_error_shape(served: Served) -> None:
    answer = served.get("/nothing")
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_port_that_is_taken_is_named(served: Served) -> None:
    second = HealthServer("127.0.0.1", served.server.port, Metrics(), Readiness, setting="EASEL_X_PORT")
    with pytest.raises(OSError, match=f"127.0.0.1:{served.server.port}"):
        second.start()


def test_stop_twice_is_stop_once() -> None:
    server = HealthServer("127.0.0.1", 0, Metrics(), Readiness, setting="EASEL_X_PORT")
    server.start()
    server.stop()
    server.stop()


def test_a_metric_that_is_not_defined_is_an_error_where_it_is_used() -> None:
    metrics = Metrics()
    with pytest.raises(UnknownMetricError, match="easel_typo_total"):
        metrics.inc("easel_typo_total")
    with pytest.raises(UnknownMetricError, match="labels"):
        metrics.inc("easel_images_total")
    with pytest.raises(UnknownMetricError, match="labels"):
        metrics.inc("easel_images_total", model="m", tenant="t")
    with pytest.raises(UnknownMetricError, match="not a gauge"):
        metrics.set("easel_images_total", 1, model="m")
    with pytest.raises(UnknownMetricError, match="not a counter"):
        metrics.inc("easel_generation_jobs_buffered")
    with pytest.raises(UnknownMetricError, match="not a histogram"):
        metrics.observe("easel_generation_jobs_buffered", 1)


def test_two_sets_of_metrics_know_nothing_of_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.inc("easel_images_total", 3, model="m")
    assert one.value("easel_images_total", model="m") == 3
    assert other.value("easel_images_total", model="m") == 0


def test_every_definition_is_complete_and_documented() -> None:
    page = render_markdown()
    for definition in DEFINITIONS:
        assert definition.name.startswith("easel_")
        assert definition.name.endswith("_total") == (definition.kind == "counter")
        assert (definition.buckets != ()) == (definition.kind == "histogram")
        assert definition.meaning.endswith(".")
        assert f"`{definition.name}`" in page
    assert len({definition.name for definition in DEFINITIONS}) == len(DEFINITIONS)


def reach(points: str, setting: str | None) -> subprocess.CompletedProcess[str]:
    code = f"from consumer.faults import fault\nfor p in {points!r}.split(): fault(p)\nprint('through')"
    environment = {} if setting is None else {"EASEL_FAULT": setting}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_a_fault_point_exits_hard_the_nth_time_and_only_if_named() -> None:
    twice = "generation.before_put generation.after_put generation.after_put"
    assert reach(twice, None).stdout == "through\n"
    assert reach(twice, "generation.after_put").returncode == EXIT_CODE
    assert reach(twice, "generation.after_put:2").returncode == EXIT_CODE
    assert reach(twice, "generation.after_put:3").stdout == "through\n"


def test_a_fault_point_that_is_none_is_refused() -> None:
    for setting in ("generation.nowhere", "generation.after_put:x"):
        assert "expected POINT" in reach("generation.after_put", setting).stderr
    assert "no fault point" in reach("generation.nowhere", "generation.after_put").stderr


def test_every_fault_point_of_generation_is_in_its_code() -> None:
    code = "".join(path.read_text() for path in (ROOT / "consumer" / "generation").glob("*.py"))
    for point in POINTS:
        assert not point.startswith("generation.") or f'fault("{point}")' in code


def test_a_prompt_is_logged_as_it_is_only_where_that_is_asked_for() -> None:
    assert "a secret wish" not in str(prompt_facts("a secret wish"))
    show_prompts(True)
    try:
        assert prompt_facts("a secret wish") == {"prompt": "a secret wish"}
    finally:
        show_prompts(False)


def test_logs_are_json_from_the_first_logger_on() -> None:
    code = """
import logging
from transport.logs import configure, logger, prompt_facts
log = logger("generation")
configure()
log.info("said", **prompt_facts("a secret wish"))
logging.getLogger("aiokafka").warning("heard %s", 1)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, heard, failed = (json.loads(line) for line in ran.stderr.splitlines())
    assert (said["event"], said["stage"], said["prompt_chars"]) == ("said", "generation", 13)
    assert heard["event"] == "heard 1"
    assert "ZeroDivisionError" in failed["exception"]
    assert "secret wish" not in ran.stderr
    assert ran.stdout == ""

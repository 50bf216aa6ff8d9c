"""What probes and dashboards are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from producer_api.fleet import Fleet
from producer_api.pulse import Pulse
from schemas.connection import KafkaSettings
from schemas.fleet import HEARD_WITHIN_MS, Gpu, Heartbeat
from tests.house import House
from tests.producer_api.conftest import post
from transport.records import Record


async def until(http: httpx.AsyncClient, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = (await http.get("/health")).json()
            if holds(found):
                return found
            await asyncio.sleep(0.1)


async def test_health_tells_of_queue_models_and_workers(http: httpx.AsyncClient, house: House) -> None:
    found = await until(http, lambda found: found["admission"] == 1)
    assert (found["status"], found["models"], found["admission"]) == ("degraded", [], 1)
    assert found["reasons"] == ["no worker is ready: what is asked for waits"]
    assert (await http.get("/health/ready")).status_code == 200, "it takes requests all the same"

    assert (await post(http, images=2)).status_code == 202
    await until(http, lambda found: sum(found["queue"].values()) == 1)
    worker = house.worker()
    found = await until(http, lambda found: found["status"] == "ok" and not sum(found["queue"].values()))
    assert found["models"] == ["nothing"]
    (told,) = found["workers"]
    assert (told["pool"], told["state"], told["models"]) == ("default", "ready", ["nothing"])
    assert "acme" not in str(found), "it says nothing of tenants"
    worker.kill()
    await until(http, lambda found: not found["workers"])


def test_a_worker_tells_of_its_gpu_and_is_forgotten_when_silent() -> None:
    fleet = Fleet(KafkaSettings())
    gpu = Gpu(name="NVIDIA H100", memory_mib=81_559, used_mib=4_096, busy_percent=97)
    beat = Heartbeat(instance="w", stage="generation", ready=True, gpu=gpu)

    def record(name: str, at_ms: int, value: bytes | None) -> Record:
        return Record("easel.fleet", 0, 0, at_ms, name.encode(), value, ())

    now_ms = 4_000_000_000_000
    fleet.take([record("w", now_ms, beat.model_dump_json().encode())])
    assert [one.gpu for one in fleet.living()] == [gpu]
    other = Heartbeat(instance="v", stage="generation", ready=True)
    later_ms = now_ms + HEARD_WITHIN_MS + 1_000
    fleet.take([record("v", later_ms, other.model_dump_json().encode()), record("damaged", later_ms, b"{")])
    assert [one.instance for one in fleet.living()] == ["v"]
    fleet.take([record("v", later_ms, None)])
    assert fleet.living() == []


def test_without_answers_that_are_due_it_is_not_ready() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])
    now[0] += 1000
    assert pulse.problem is None, "nothing is due"
    pulse.asked()
    now[0] += 9
    pulse.asked()
    assert pulse.problem is None
    now[0] += 2
    assert "11 s" in str(pulse.problem)
    pulse.answered()
    assert pulse.problem is None
    pulse.asked()
    now[0] += 61
    assert pulse.problem is None, "it may never be answered"
    pulse.asked()
    now[0] += 11
    assert "11 s" in str(pulse.problem)

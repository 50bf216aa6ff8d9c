"""The bench of the HTTP API: it runs, every answer is the decision, and the bare service publishes what it says."""

from __future__ import annotations

import asyncio

from ops.bench.http import bench
from ops.bench.http.bench import Plan
from ops.bench.stack import fresh_stack
from schemas.connection import KafkaSettings
from transport.tail import read_partition


async def published(kafka: KafkaSettings, topic: str) -> int:
    return sum([len(batch) for number in range(4) async for batch in read_partition(kafka, topic, number)])


def test_it_measures_both_services_and_judges_by_the_bars() -> None:
    with fresh_stack() as (stack, folder), bench._services(stack, folder) as (ours, bare):
        for service in (ours, bare):
            crowd = service.crowd(0.5)
            assert 0 < crowd.p50_ms <= crowd.p99_ms
            assert set(crowd.cpu_us) >= {"api", "broker"}
            service.crowds.append(crowd)
            service.paced_ms += service.pace(0.5)
            assert len(service.paced_ms) == 10
            assert (service.errors, service.wrong) == (0, [])
        kafka = KafkaSettings(bootstrap_servers=stack.endpoints.kafka)
        for service, topic in ((ours, "easel.results"), (bare, "bare.requests")):
            answered = round(service.crowds[0].per_s * 0.5)
            assert asyncio.run(published(kafka, topic)) >= answered > 0
        ours.expect = "something else"
        ours.pace(0.5)
        assert ours.errors == 10
        assert ours.wrong[0].startswith("HTTP/1.1 202")
    report = bench._report(ours, bare, Plan(0.5, 1))
    assert list(report.line) == [
        "requests_per_s",
        "bare_per_s",
        "throughput_ratio",
        "latency_p50_ms",
        "latency_p99_ms",
        "errors",
    ]
    assert any("10 errors" in bar for bar in report.missed)

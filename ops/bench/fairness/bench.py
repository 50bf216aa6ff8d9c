"""``easel bench fairness``: its measurements, its bars, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles

from ops.bench.fairness import cases
from ops.bench.fairness.cases import Ageing, Busy, Light
from ops.bench.fairness.plot import plot
from ops.bench.fairness.real import real_run
from ops.bench.fairness.workers import Speed
from ops.bench.report import Progress, Report, table_of

__all__ = ["JAIN", "PACKAGES", "bench_fairness"]

PACKAGES = ("PyJWT", "pydantic", "pydantic-core")
"""What the figures depend on."""

JAIN, WEIGHTS, WAIT, IDLE = 0.98, 0.03, 1.5, 0.02
"""The bars: at least; at most, relative; at most, of alone and one batch; at most, of the workers' time."""

_FEW, _MANY = 8, 50
_TENANTS, _MANY_TENANTS = 24, 500
_CASES = 6
_REAL_EACH = 600
"""Pictures that each tenant of the real run asks for."""
_EVEN = Speed(room=8, full_ms=1_000)
"""A worker of the fleet on which one batch is the same everywhere."""
_LIGHT_REQUESTS = 60
_AGEING_MINUTES = 30.0


def bench_fairness(seconds: float, on_progress: Progress) -> Report:
    """Run every case; ``seconds`` of virtual time with all workers busy, twice as many where there are 500 tenants."""
    equal = cases.busy(dict.fromkeys(_names(_TENANTS), 1), cases.uneven(_FEW), seconds)
    on_progress(1, _CASES)
    weighted = cases.busy(dict(zip(cases.neighbours(3), (1, 2, 4), strict=True)), cases.uneven(_FEW), seconds)
    on_progress(2, _CASES)
    waits = cases.light([_EVEN] * _FEW, _LIGHT_REQUESTS)
    on_progress(3, _CASES)
    aged = cases.ageing(_AGEING_MINUTES)
    on_progress(4, _CASES)
    many = cases.busy(
        {name: (1, 2, 4)[index % 3] for index, name in enumerate(_names(_MANY_TENANTS))},
        cases.uneven(_MANY),
        2 * seconds,
    )
    on_progress(5, _CASES)
    real = real_run(_REAL_EACH)
    on_progress(6, _CASES)
    return report(equal, weighted, waits, aged, many, real)


def report(equal: Busy, weighted: Busy, waits: Light, aged: Ageing, many: Busy, real: Busy) -> Report:
    """What came of it. The line holds the worst of each kind in virtual time; the real run stands beside it."""
    line = {
        "jain": round(min(cases.jain(equal.by_weight), cases.jain(many.by_weight)), 4),
        "weights_error": round(max(cases.weights_error(weighted), cases.weights_error(many)), 4),
        "light_wait_ratio": round(waits.ratio, 3),
        "idle_share": round(max(found.idle_share for found in (equal, weighted, many)), 4),
    }
    bars = [
        (line["jain"] >= JAIN, f"jain is {line['jain']}, below {JAIN}"),
        (line["weights_error"] <= WEIGHTS, f"weights_error is {line['weights_error']}, above {WEIGHTS}"),
        (line["light_wait_ratio"] <= WAIT, f"light_wait_ratio is {line['light_wait_ratio']}, above {WAIT}"),
        (line["idle_share"] <= IDLE, f"idle_share is {line['idle_share']}, above {IDLE}"),
        (
            aged.passed_after_ms <= aged.bound_ms,
            f"a low request was passed by one {aged.passed_after_ms / 1000:g} s younger",
        ),
    ]
    busy = {"equal tenants": equal, "weights 1:2:4": weighted, "500 tenants, 50 workers": many}
    rows = [
        [name, f"{cases.jain(b.by_weight):.4f}", f"{cases.weights_error(b):.2%}", f"{b.idle_share:.2%}"]
        for name, b in busy.items()
    ]
    real_rows = [
        [f"{name} (weight {real.weights[name]})", f"{number:,}", f"{number / real.weights[name]:,.1f}"]
        for name, number in sorted(real.pictures.items())
    ]
    real_rows.append(["Jain; weights off by", f"{cases.jain(real.by_weight):.4f}", f"{cases.weights_error(real):.2%}"])
    waiting = [
        [name, *(f"{_percentile(found, each):,.0f}" for each in (50, 95)), f"{max(found):,.0f}"]
        for name, found in (("alone", waits.alone_ms), ("beside 10,000", waits.beside_ms))
    ]
    low = [
        ["low beside high", f"{aged.passed_after_ms / 1000:,.0f}", f"{aged.bound_ms / 1000:,.0f}", str(aged.low_done)]
    ]
    return Report(
        "fairness",
        line,
        [
            table_of(["all want more than there is", "Jain", "weights off by", "idle while work waits"], rows),
            table_of(["ms until a light tenant's work begins", "p50", "p95", "most"], waiting),
            table_of(["a real run, until the first had all of its own", "pictures", "for its weight"], real_rows),
            table_of(["priority", "passed by what came later by, s", "bound, s", "low ones served"], low),
        ],
        {
            "pictures": {name: dict(found.pictures) for name, found in busy.items()},
            "real": {"weights": dict(real.weights), "pictures": dict(real.pictures)},
            "light_ms": {"alone": list(waits.alone_ms), "beside": list(waits.beside_ms), "batch": waits.batch_ms},
            "ageing": {"passed_after_ms": aged.passed_after_ms, "bound_ms": aged.bound_ms, "low_done": aged.low_done},
        },
        plot=lambda path: plot(busy, waits, path),
        missed=[said for held, said in bars if not held],
    )


def _names(number: int) -> list[str]:
    return [f"tenant-{index}" for index in range(number)]


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]

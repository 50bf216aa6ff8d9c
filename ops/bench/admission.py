"""``easel bench admission``: requests a second that one process decides, without a broker, beside verification alone.

Ours is the whole path from records as the broker hands them out to the records of the transaction: headers, signature,
schema, limits, quota, dispatch, events and ledger. The bare loop verifies the same tokens and decodes the same bodies.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median

from rich.table import Table

from consumer.admission.batch import decide_batch
from consumer.admission.fleet_view import NO_FLEET
from consumer.admission.state import PartitionState
from consumer.engine.cores import available_cores
from ops.bench import bare
from ops.bench.report import BenchError, Progress, Report, Spread, table_of
from ops.bench.requests import INSTALLATION, Requests, make_requests
from ops.bench.sampling import Sampler
from schemas.signing import Algorithm

__all__ = ["PACKAGES", "bench_admission"]

PACKAGES = ("PyJWT", "cryptography", "pydantic", "pydantic-core", "uuid-utils")
"""What the figures depend on."""

_ALGORITHMS: tuple[Algorithm, ...] = ("HS256", "ES256", "EdDSA")
_BATCH = 100
_REQUESTS = 20 * _BATCH
_ROUNDS = 5
_PROFILED = 3
"""How much longer the profile runs: the kernel allows a few hundred samples a second."""

_PARTS = {
    "schemas.signing": "signature",
    "consumer.admission.intake": "headers, schema",
    "consumer.admission.decide": "decision",
    "consumer.admission.quota": "decision",
    "consumer.admission.state": "decision",
    "consumer.admission.placement": "decision",
    "consumer.admission.batch": "decision",
    "consumer.admission.messages": "encoding events",
    "consumer.admission.ledger": "encoding ledger",
}

_Steps = Iterator[Callable[[], object]]
"""Without end: each call does the work of one batch."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """One measurement. ``cpu_us`` is processor time a request, which other work on the machine hardly moves."""

    per_s: float
    cpu_us: float


@dataclass(slots=True)
class _Contest:
    """Our loop and the bare one on the requests of one algorithm, and what was measured of them."""

    ours: _Steps
    bare: _Steps
    our_paces: list[_Pace] = field(default_factory=list)
    bare_paces: list[_Pace] = field(default_factory=list)
    sampler: Sampler = field(default_factory=lambda: Sampler(_PARTS))

    @property
    def ratio(self) -> Spread:
        return Spread.of_ratios([pace.per_s for pace in self.our_paces], [pace.per_s for pace in self.bare_paces])

    @property
    def our_per_s(self) -> Spread:
        return Spread.of([pace.per_s for pace in self.our_paces])

    @property
    def bare_per_s(self) -> Spread:
        return Spread.of([pace.per_s for pace in self.bare_paces])


def bench_admission(seconds: float, on_progress: Progress) -> Report:
    """Run the two loops of each algorithm in turn, ``seconds`` each, five times. In the main thread only: it samples.

    Raises ``BenchError`` when admission refuses a request that it must accept.
    """
    contests = {algorithm: _contest(algorithm) for algorithm in _ALGORITHMS}
    total, done = len(contests) * (2 * _ROUNDS + 1), 0
    for number in range(_ROUNDS):
        for contest in contests.values():
            pair = [(contest.our_paces, contest.ours), (contest.bare_paces, contest.bare)]
            # Neither may always have the machine as the other left it.
            for paces, steps in pair if number % 2 == 0 else reversed(pair):
                paces.append(_measure(steps, seconds))
                on_progress(done := done + 1, total)
    for contest in contests.values():
        with contest.sampler:
            _measure(contest.ours, seconds * _PROFILED)
        on_progress(done := done + 1, total)
    return _report(contests, seconds)


def _contest(algorithm: Algorithm) -> _Contest:
    requests = make_requests(algorithm, _REQUESTS)
    _require_accepted(requests)
    return _Contest(_ours(requests), _bare(requests, algorithm))


def _require_accepted(requests: Requests) -> None:
    """Refusals are cheap: a bench of them would look well. Also the first run of all code, which is not measured."""
    batch = decide_batch(_empty(requests), requests.records, requests.rules, None, NO_FLEET)
    what = [(decision.what, decision.code) for decision in batch.decisions if decision.what != "dispatched"]
    wrong = {pair for pair in what if pair[0] != "accepted"}
    if wrong or len(what) != len(requests.records):
        raise BenchError(f"admission did not accept the requests of the bench: {sorted(wrong)}; this is a defect")


def _empty(requests: Requests) -> PartitionState:
    state = PartitionState()
    state.next_offsets = dict.fromkeys(requests.rules.inputs.values(), 0)
    return state


def _ours(requests: Requests) -> _Steps:
    rules = requests.rules
    while True:
        state = _empty(requests)
        for first in range(0, _REQUESTS, _BATCH):
            records = requests.records[first : first + _BATCH]
            yield lambda state=state, records=records: decide_batch(  # type: ignore[misc]
                state, records, rules, records[-1].timestamp_ms, NO_FLEET
            ).outgoing(state, rules)


def _bare(requests: Requests, algorithm: Algorithm) -> _Steps:
    while True:
        for first in range(0, _REQUESTS, _BATCH):
            signed = requests.signed[first : first + _BATCH]
            yield lambda signed=signed: bare.verify(signed, algorithm, INSTALLATION)  # type: ignore[misc]


def _measure(steps: _Steps, seconds: float) -> _Pace:
    gc.collect()
    batches, wall, cpu = 0, 0.0, 0.0
    while wall < seconds:
        step = next(steps)
        wall_began, cpu_began = time.perf_counter(), time.process_time()
        step()
        cpu += time.process_time() - cpu_began
        wall += time.perf_counter() - wall_began
        batches += 1
    return _Pace(batches * _BATCH / wall, cpu / (batches * _BATCH) * 1e6)


def _report(contests: Mapping[Algorithm, _Contest], seconds: float) -> Report:
    hs256 = contests["HS256"]
    line: dict[str, float | int] = {
        f"{name.lower()}_per_s": round(contest.our_per_s.median) for name, contest in contests.items()
    }
    line |= {
        "bare_hs256_per_s": round(hs256.bare_per_s.median),
        "ratio_hs256": round(hs256.ratio.median, 3),
        "cores": available_cores(),
    }
    details = {
        "seconds": seconds,
        "batch": _BATCH,
        "rounds": {
            name: {
                "easel": [asdict(pace) for pace in contest.our_paces],
                "bare": [asdict(pace) for pace in contest.bare_paces],
            }
            for name, contest in contests.items()
        },
        "profile": {
            name: {"samples": contest.sampler.samples, "shares": contest.sampler.shares()}
            for name, contest in contests.items()
        },
    }
    return Report("admission", line, [_paces(contests), _profiles(contests)], details)


def _paces(contests: Mapping[Algorithm, _Contest]) -> Table:
    rows: list[list[str]] = []
    for name, contest in contests.items():
        our_cpu, bare_cpu = (median(pace.cpu_us for pace in paces) for paces in (contest.our_paces, contest.bare_paces))
        rows += [
            [f"{name}, easel", *contest.our_per_s.cells(0), f"{our_cpu:.0f}"],
            [f"{name}, bare", *contest.bare_per_s.cells(0), f"{bare_cpu:.0f}"],
            [f"{name}, ratio", *contest.ratio.cells(2), f"{bare_cpu / our_cpu:.2f}"],
        ]
    return table_of(["requests a second, one process", "median", "lowest", "highest", "CPU µs each"], rows)


def _profiles(contests: Mapping[Algorithm, _Contest]) -> Table:
    shares = {name: contest.sampler.shares() for name, contest in contests.items()}
    head = ["where easel's time goes", *shares]
    rows = [[part, *(f"{found[part]:.0%}" for found in shares.values())] for part in dict.fromkeys(_PARTS.values())]
    return table_of(head, rows)

"""Do usage, ledger and results say the same, to the milli-unit? Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from ops.chaos.verify_facts import ENDS, Facts, Said, Violation

__all__ = ["check_books"]

_MOVES = ("held", "settled", "refunded")


def check_books(facts: Facts) -> Iterator[Violation]:
    """Every rule about units, and that the ledger has come to its end."""
    yield from _usage_is_what_results_say(facts)
    yield from _balances_follow_from_entries(facts)
    yield from _ledger_has_the_same_accounts(facts)
    yield from _ledger_has_the_same_ends(facts)
    yield from _everything_was_read(facts)


def _usage_is_what_results_say(facts: Facts) -> Iterator[Violation]:
    moved: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    times: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for event in facts.usage:
        kind = event.kind.removeprefix("usage.")
        moved[event.request][kind] += int(event.content["milliunits"])
        times[event.request][kind] += 1
    told: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for event in facts.results:
        if event.kind == "generation.accepted":
            told[event.request]["held"] += int(event.content["cost_milliunits"])
        elif event.kind in ENDS:
            told[event.request]["settled"] += int(event.content["cost_milliunits"])
            told[event.request]["refunded"] += int(event.content["refunded_milliunits"])
    for request in moved.keys() | told.keys():
        entries, said, name = moved[request], told[request], "/".join(request)
        for kind in _MOVES:
            if entries[kind] != said[kind]:
                found = f"usage has {kind} {entries[kind]}, the results say {said[kind]}"
                yield Violation("units", name, found, abs(entries[kind] - said[kind]))
            if times[request][kind] > 1:
                yield Violation("units", name, f"{kind} {times[request][kind]} times", entries[kind])
        left = entries["held"] - entries["settled"] - entries["refunded"]
        if left:
            yield Violation("units", name, f"{left} milli-units were held and neither settled nor refunded", abs(left))


def _balances_follow_from_entries(facts: Facts) -> Iterator[Violation]:
    """After each entry of a tenant the balance of its day and month is what the entries so far come to."""
    sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for event in facts.usage:
        for name in ("day", "month"):
            balance = event.content[name]
            posted = sums[event.tenant, balance["period"]]
            posted[event.kind.removeprefix("usage.")] += int(event.content["milliunits"])
            expected = {kind: posted[kind] for kind in _MOVES}
            expected["outstanding"] = posted["held"] - posted["settled"] - posted["refunded"]
            said = {kind: int(balance[kind]) for kind in expected}
            if said != expected or expected["outstanding"] < 0:
                about = f"{event.tenant}, {balance['period']}, after {event.kind} of {event.request_id}"
                off = max(1, abs(said["outstanding"] - expected["outstanding"]))
                yield Violation("units", about, f"the balance is {said}, the entries come to {expected}", off)


def _ledger_has_the_same_accounts(facts: Facts) -> Iterator[Violation]:
    for name, periods in (("day", "days"), ("month", "months")):
        sums: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for event in facts.usage:
            period = str(event.content[name]["period"])
            sums[event.tenant, period][event.kind.removeprefix("usage.")] += int(event.content["milliunits"])
        kept: dict[tuple[str, str], dict[str, Any]] = {
            (tenant, period): posted
            for tenant, account in facts.ledger.accounts.items()
            for period, posted in account[periods].items()
        }
        for key in sums.keys() | kept.keys():
            for kind in _MOVES:
                usage, ledger = sums[key][kind], int(kept.get(key, {}).get(kind, 0))
                if usage != ledger:
                    found = f"usage has {kind} {usage}, the ledger {ledger}"
                    yield Violation("units", ", ".join(key), found, abs(usage - ledger))


def _ledger_has_the_same_ends(facts: Facts) -> Iterator[Violation]:
    ends: dict[tuple[str, str], Said] = {event.request: event for event in facts.results if event.kind in ENDS}
    accepted = {event.request for event in facts.results if event.kind == "generation.accepted"}
    for request, content in facts.ledger.requests.items():
        end = ends.get(request)
        told = "open" if end is None else end.kind.removeprefix("generation.")
        state = content["state"] if "ended_ms" in content else "open"
        if state != told:
            yield Violation("ledger", "/".join(request), f"{state} in the ledger, {told} on results")
    for request in accepted - facts.ledger.requests.keys():
        yield Violation("ledger", "/".join(request), "accepted, and not in the ledger")
    for request in facts.ledger.requests.keys() - accepted:
        yield Violation("ledger", "/".join(request), "in the ledger, and never accepted")


def _everything_was_read(facts: Facts) -> Iterator[Violation]:
    for name, ends in facts.ends.items():
        for partition, end in ends.items():
            read = facts.ledger.next_offsets.get(partition, {}).get(name, 0)
            if read < end:
                yield Violation("missing", f"{name} {partition}", f"read up to {read} of {end}", end - read)

"""What a worker takes from the heartbeats of the others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from consumer.fleet import BrokerClock
from consumer.generation.peers import Peers
from schemas.connection import KafkaSettings
from schemas.fleet import HEARD_WITHIN_MS, Heartbeat, HeldJob
from transport.records import Record

KEY = ("acme", "a-request", 1)
NOW_MS = 1_800_000_000_000


@pytest.fixture
def peers() -> Peers:
    clock = BrokerClock()
    clock.heard(NOW_MS)
    return Peers(KafkaSettings(), clock, instance="me", pool="default", session_timeout_s=10)


def told(peers: Peers, state: Any = None, *, ago_ms: int = 0, who: str = "other", **more: Any) -> None:
    held = [HeldJob(*KEY, state)] if state else []
    beat = Heartbeat(**{"instance": who, "stage": "generation", "pool": "default", "ready": True, "held": held, **more})
    value = beat.model_dump_json().encode()
    peers.take(Record("fleet", 0, 0, NOW_MS - ago_ms, who.encode(), value, ()))


def left(peers: Peers, who: str = "other") -> None:
    peers.take(Record("fleet", 0, 0, NOW_MS, who.encode(), None, ()))


def test_what_nobody_names_is_free(peers: Peers) -> None:
    told(peers)
    told(peers, "waiting", who="third")
    assert peers.claim(KEY) == "none"


def test_what_a_living_peer_runs_is_its_own(peers: Peers) -> None:
    told(peers, "running")
    assert peers.claim(KEY) == "runs"
    assert peers.claim((*KEY[:2], 2)) == "none"


def test_what_a_dead_peer_ran_was_broken_off(peers: Peers) -> None:
    told(peers, "running", ago_ms=HEARD_WITHIN_MS + 1)
    assert peers.claim(KEY) == "broken_off"


def test_what_has_ended_has_ended_whoever_lives(peers: Peers) -> None:
    told(peers, "running", who="third")
    told(peers, "ended", ago_ms=HEARD_WITHIN_MS + 1)
    assert peers.claim(KEY) == "ended"


def test_one_that_left_has_given_up_what_it_had(peers: Peers) -> None:
    told(peers, "running")
    left(peers)
    assert peers.claim(KEY) == "none"


def test_what_another_took_up_after_a_death_is_the_living_ones(peers: Peers) -> None:
    told(peers, "running", ago_ms=HEARD_WITHIN_MS + 1, who="dead")
    told(peers, "running")
    assert peers.claim(KEY) == "runs"


def test_our_own_word_other_pools_and_noise_do_not_count(peers: Peers) -> None:
    told(peers, "running", who="me")
    told(peers, "running", who="elsewhere", pool="video")
    told(peers, "running", who="admission", stage="admission")
    peers.take(Record("fleet", 0, 0, NOW_MS, b"odd", b"{", ()))
    assert peers.claim(KEY) == "none"


def test_after_a_rebalance_every_living_peer_is_heard_first(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    told(peers, ago_ms=900)
    told(peers, ago_ms=HEARD_WITHIN_MS + 1, who="dead")
    peers.rebalanced()
    assert peers.claim(KEY) is None
    told(peers, "running")
    assert peers.claim(KEY) == "runs"
    told(peers)
    assert peers.claim(KEY) == "none"


def test_one_that_says_nothing_after_a_rebalance_is_not_waited_for_long(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(peers, ago_ms=900)
    peers.rebalanced()
    assert peers.claim(KEY) is None
    later = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert peers.claim(KEY) == "none"


def test_a_short_session_shortens_what_counts_as_living() -> None:
    clock = BrokerClock()
    clock.heard(NOW_MS)
    hasty = Peers(KafkaSettings(), clock, instance="me", pool="default", session_timeout_s=3)
    told(hasty, "running", ago_ms=2_500)
    assert hasty.claim(KEY) == "broken_off"


def test_without_the_brokers_time_nothing_is_known() -> None:
    peers = Peers(KafkaSettings(), BrokerClock(), instance="me", pool="default", session_timeout_s=10)
    told(peers, "running")
    assert peers.claim(KEY) is None

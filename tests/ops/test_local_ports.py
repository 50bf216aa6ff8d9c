"""Ports for servers that are started side by side: no two are given the same."""

from __future__ import annotations

import socket
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from ops.local.ports import free_port, kept_port


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The counter that ports are dealt by, of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "easel").mkdir()
    return tmp_path / "easel" / "next-port"


def ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


@pytest.mark.usefixtures("counter")
def test_processes_that_ask_at_once_are_given_different_ports() -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        dealt = [port for some in processes.map(ports, [100] * 3) for port in some]
    assert len(set(dealt)) == 300


def test_a_port_that_is_listened_on_is_passed_over(counter: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        counter.write_text(str(port))
        assert free_port() != port
    counter.write_text(str(port))
    assert free_port() == port


@pytest.mark.parametrize("found", ["", "rubbish", "80", "32000"])
def test_after_the_last_port_or_without_a_counter_it_goes_on_anywhere(counter: Path, found: str) -> None:
    counter.write_text(found)
    assert free_port() in range(20_000, 32_000)
    counter.write_text("31999")
    assert all(port in range(20_000, 32_000) for port in ports(2))


@pytest.mark.usefixtures("counter")
def test_a_directory_keeps_its_ports(tmp_path: Path) -> None:
    first = kept_port(tmp_path / "kafka", "broker")
    assert kept_port(tmp_path / "kafka", "broker") == first
    assert kept_port(tmp_path / "kafka", "controller") != first

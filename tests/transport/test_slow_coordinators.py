"""A coordinator that is not there yet is asked again, and a log says so only of one that stays away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.transport.transacting import started
from tests.transport.wire import ApiKey, Wire, broker_behind_wire, init_producer_id_error

_LOADING = init_producer_id_error(14)


def _load_for(wire: Wire, seconds: float) -> None:
    until = time.monotonic() + seconds
    wire.replace_response[ApiKey.INIT_PRODUCER_ID] = lambda frame: (
        _LOADING(frame) if time.monotonic() < until else frame
    )


async def test_only_what_lasts_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with broker_behind_wire(tmp_path) as (kafka, wire):
        await (await started(kafka)).close()
        caplog.clear()
        for seconds, said in ((0.3, False), (1.5, True)):
            before = wire.requests[ApiKey.INIT_PRODUCER_ID]
            _load_for(wire, seconds)
            await (await started(kafka)).close()
            assert wire.requests[ApiKey.INIT_PRODUCER_ID] > before + 1
            again = [line for line in caplog.messages if "InitProducerIdRequest is asked again" in line]
            assert bool(again) is said
            assert all(line.endswith(": GroupLoadInProgressError") for line in again)

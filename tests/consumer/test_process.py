"""A stage that has ended is gone soon after, whatever was left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from consumer.process import EXIT_CONFIGURATION, EXIT_TRY_AGAIN

START = """
import asyncio, threading, time
from consumer import process
from transport.errors import Misconfigured
process._END_S = 0.5

async def deaf():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def serve(settings, stop):
    {left}
    await asyncio.sleep(0)
    {end}

process.run_process("test", serve)
"""
LEFT = {
    "nothing": "pass",
    "a task that hears no cancellation": "asyncio.create_task(deaf(), name='deaf')",
    "a thread": "threading.Thread(target=time.sleep, args=(60,), name='busy').start()",
    "a thread of the loop": "asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)",
}
ENDS = {
    "return": 0,
    "raise Misconfigured('a key is missing', 'set it')": EXIT_CONFIGURATION,
    "raise RuntimeError('oh')": 1,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("left", LEFT)
def test_it_ends_soon_and_with_its_own_code(left: str, end: str, tmp_path: Path) -> None:
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", START.format(left=LEFT[left], end=end)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert time.monotonic() - began < 15
    late = "did not end by itself within 0.5 s" in ended.stderr
    assert late == (left != "nothing"), ended.stderr
    # Of an error that nobody expects the code comes with its traceback, unless it could not get that far.
    assert ended.returncode in ({ENDS[end], EXIT_TRY_AGAIN} if late and ENDS[end] == 1 else {ENDS[end]}), ended.stderr
    if "task" in left:
        assert "name='deaf'" in ended.stderr

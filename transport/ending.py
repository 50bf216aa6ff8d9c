"""The end of a process comes in bounded time, whatever a library's task or thread still waits for.

``asyncio.run`` and the interpreter wait without a limit for tasks that swallow their cancellation and for threads that
wait for the network. An orchestrator would kill the process in the end; until then what it served stays unserved.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time

__all__ = ["end_within"]


def end_within(seconds: float, code: int) -> None:
    """Call it when all that counts is written down: if the process still runs so much later, it ends with ``code``.

    What it waited for goes to stderr first.
    """
    loop = asyncio.get_running_loop()
    threading.Thread(target=_end, args=(seconds, code, loop), name="ending", daemon=True).start()


def _end(seconds: float, code: int, loop: asyncio.AbstractEventLoop) -> None:
    time.sleep(seconds)
    try:
        print(f"did not end by itself within {seconds:g} s; what still ran:", file=sys.stderr)
        sys.stderr.flush()
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        for task in asyncio.all_tasks(loop):
            print(repr(task)[:500], file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

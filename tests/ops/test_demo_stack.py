"""What a demo does to the one before it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ops.demo.stack import DemoStack
from ops.local.process import start_detached


def test_a_demo_that_was_kept_running_is_not_stopped_in_silence(tmp_path: Path) -> None:
    said: list[str] = []
    stack = DemoStack(tmp_path, said.append)
    stack.clear()
    assert said == []
    record = start_detached([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, tmp_path / "log")
    record.save(tmp_path / "run" / "worker.json")
    stack.clear()
    assert said == ["stopping the demo that was kept running"]
    assert record.find() is None

"""``python -m consumer.generation``: one worker, until SIGTERM."""

from __future__ import annotations

from consumer.generation.service import run_worker
from consumer.process import run_process


def main() -> None:
    """Run a worker as a process."""
    run_process("generation", lambda settings, stop: run_worker(settings, stop=stop))


if __name__ == "__main__":
    main()

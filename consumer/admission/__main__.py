"""``python -m consumer.admission``: one instance of admission, until SIGTERM."""

from __future__ import annotations

from consumer.admission.service import run_admission
from consumer.process import run_process


def main() -> None:
    """Run admission as a process."""
    run_process("admission", lambda settings, stop: run_admission(settings, stop=stop))


if __name__ == "__main__":
    main()

"""``python -m consumer.webhooks``: one instance, until SIGTERM."""

from __future__ import annotations

from consumer.process import run_process
from consumer.webhooks.service import run_webhooks


def main() -> None:
    """Run the stage as a process."""
    run_process("webhooks", lambda settings, stop: run_webhooks(settings, stop=stop))


if __name__ == "__main__":
    main()

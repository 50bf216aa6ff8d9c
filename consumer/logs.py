"""Logs of the stages: one JSON object a line on stderr, also for what libraries log."""

from __future__ import annotations

import hashlib
import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor

from transport.seldom import Seldom

__all__ = ["Logger", "configure", "logger", "prompt_facts"]

Logger = structlog.stdlib.BoundLogger


def configure(level: str = "INFO") -> None:
    """Send every log line of this process to stderr as JSON. Tracebacks become one field of their line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Its lines about every rebalance and fetch are for those who debug the client itself.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, root.level))


def logger(stage: str) -> Logger:
    """The logger of a stage; every line carries its name. It takes its shape at its first line, after ``configure``."""
    lazy: Logger = structlog.stdlib.get_logger(stage, stage=stage)
    return lazy


def prompt_facts(prompt: str) -> dict[str, Any]:
    """What a log may say about a prompt: enough to tell two apart, not what it says."""
    return {"prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest()[:16], "prompt_chars": len(prompt)}

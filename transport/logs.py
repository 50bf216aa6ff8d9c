"""Logs of every service: one JSON object a line on stderr, also for what libraries log."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from transport.seldom import Seldom

__all__ = ["configure"]


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

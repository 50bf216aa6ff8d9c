"""Logs of every service: one JSON object a line on stderr, also for what libraries log."""

from __future__ import annotations

import json
import logging
import sys

import structlog
from structlog.typing import Processor

from transport.seldom import Seldom

__all__ = ["configure"]


_encode = json.JSONEncoder(default=repr).encode


def configure(level: str = "INFO") -> None:
    """Send every log line of this process to stderr as JSON. Tracebacks become one field of their line."""
    least = logging.getLevelNamesMapping()[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    # Our own lines go straight out: by way of the standard library's loggers each costs five times as much, and a
    # worker writes two for a job.
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=lambda line, **_: _encode(line))],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
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
    root.setLevel(least)
    # Its lines about every rebalance and fetch are for those who debug the client itself.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, least))

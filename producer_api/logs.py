"""Logs of the API process: one JSON object a line on stderr."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from transport.seldom import Seldom

__all__ = ["configure"]


def configure(level: str = "INFO") -> None:
    """Send every log line of this process to stderr as JSON. Tracebacks become one field of their line."""
    facts: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=facts,
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
    # Its lines about every fetch are for those who debug the client itself.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, root.level))

"""What services log with: one JSON object a line, also for what libraries log; and what it may say of a prompt."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from transport.rotating import RotatingFile
from transport.seldom import Seldom

__all__ = ["Logger", "configure", "logger", "prompt_facts", "show_prompts"]

Logger = FilteringBoundLogger

_encode = json.JSONEncoder(default=repr).encode


def configure(level: str = "INFO", *, file: Path | None = None, file_bytes: int = 0, files: int = 1) -> None:
    """Send every log line of this process to stderr as JSON. Tracebacks become one field of their line.

    ``file``: to this file instead. It is put aside when it would grow above ``file_bytes``; ``files`` are kept, the one
    in use among them. Raises ``OSError`` when it can't be written.
    """
    least = logging.getLevelNamesMapping()[level]
    lines = cast(TextIO, sys.stderr if file is None else RotatingFile(file, file_bytes, files))
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
        logger_factory=structlog.WriteLoggerFactory(file=lines),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(_formatter(shared))
    handler.addFilter(Seldom())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(least)
    # Its lines about every rebalance and fetch are for those who debug the client itself.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, least))
    # Nor may anyone fill a log with forms that are none.
    for name in ("python_multipart", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(logging.ERROR, least))


def logger(stage: str) -> Logger:
    """The logger of a stage; every line carries its name. It takes its shape at its first line, after ``configure``."""
    lazy: Logger = structlog.get_logger(stage, stage=stage)
    return lazy


class _Asked:
    prompts = False


def show_prompts(shown: bool) -> None:
    """Whether this process may log prompts as they are. It may not before it is asked to."""
    _Asked.prompts = shown


def prompt_facts(prompt: str) -> dict[str, Any]:
    """What a log may say about a prompt: enough to tell two apart, and what it says only where that was asked for."""
    if _Asked.prompts:
        return {"prompt": prompt}
    return {"prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest()[:16], "prompt_chars": len(prompt)}


def _formatter(shared: Sequence[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )

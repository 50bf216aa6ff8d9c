"""A text file for log lines that is put aside when it is full."""

from __future__ import annotations

import io
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

__all__ = ["RotatingFile"]


class RotatingFile(io.TextIOBase):
    """Takes whole lines, from any thread. Older files have the numbers ``.1``, ``.2``, … after their name."""

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        """``files`` are kept, the one in use among them. Raises ``OSError`` when it can't be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = RotatingFileHandler(path, maxBytes=max_bytes, backupCount=files - 1, encoding="utf-8")
        self._handler.terminator = ""

    def write(self, text: str) -> int:
        """A line, with its end. What can't be written is lost, and stderr says so: a full disk ends no service."""
        self._handler.handle(logging.LogRecord("", logging.INFO, "", 0, text, None, None))
        return len(text)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
        super().close()

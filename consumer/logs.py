"""What the stages log with, and what may be said of a prompt."""

from __future__ import annotations

import hashlib
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

__all__ = ["Logger", "logger", "prompt_facts", "show_prompts"]

Logger = FilteringBoundLogger


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

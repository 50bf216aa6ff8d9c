"""Publish requests to easel and follow them: the SDK. The HTTP API beside it is ``producer_api.app``."""

from __future__ import annotations

from producer_api.client import Client
from producer_api.config import ConfigurationError
from producer_api.exceptions import (
    ClientError,
    GenerationCanceled,
    GenerationFailed,
    NotCanceled,
    NotDeleted,
    RequestRejected,
    ResultGone,
    TimedOut,
    Unreachable,
)
from producer_api.handles import Handle
from producer_api.signed import build_request

__all__ = [
    "Client",
    "ClientError",
    "ConfigurationError",
    "GenerationCanceled",
    "GenerationFailed",
    "Handle",
    "NotCanceled",
    "NotDeleted",
    "RequestRejected",
    "ResultGone",
    "TimedOut",
    "Unreachable",
    "build_request",
]

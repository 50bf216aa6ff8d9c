"""Publish requests to easel and follow them: the SDK. The HTTP API beside it is ``producer_api.app``."""

from __future__ import annotations

from producer_api.sdk.client import Client
from producer_api.sdk.config import ConfigurationError
from producer_api.sdk.exceptions import (
    ClientError,
    GenerationCanceled,
    GenerationFailed,
    HandlerFailed,
    NotCanceled,
    NotDeleted,
    PictureDamaged,
    RequestRejected,
    ResultGone,
    TimedOut,
    Unreachable,
)
from producer_api.sdk.handles import Handle
from producer_api.sdk.many import Submission
from producer_api.sdk.subscription import Received, Subscription
from producer_api.sdk.sync import SyncClient
from producer_api.signed import build_request

__all__ = [
    "Client",
    "ClientError",
    "ConfigurationError",
    "GenerationCanceled",
    "GenerationFailed",
    "Handle",
    "HandlerFailed",
    "NotCanceled",
    "NotDeleted",
    "PictureDamaged",
    "Received",
    "RequestRejected",
    "ResultGone",
    "Submission",
    "Subscription",
    "SyncClient",
    "TimedOut",
    "Unreachable",
    "build_request",
]

"""One event that is owed to one endpoint: as the topic of the stage holds it, and as it is posted."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import msgspec

from schemas.envelope import Envelope
from schemas.webhooks import WEBHOOK, RequestWebhook
from transport.records import Outgoing, Record

__all__ = ["ENDPOINT_HEADER", "Destination", "Owed", "own_webhook", "read_owed"]

ENDPOINT_HEADER = "easel_endpoint"
"""On dead letters and redeliveries: the endpoint's name; empty for the request's own URL."""

Destination = tuple[str, str]
"""Tenant, and the name of an endpoint or, for requests' own webhooks, ``=`` and scheme and host.

Each request's path may be another one, and it is a server that is slow or away."""


class Owed(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What has to be delivered. The event is here whole: its record may be gone by the last attempt."""

    tenant: str
    endpoint: str
    """Name of the endpoint; empty for the request's own."""
    id: str
    type: str
    source: str
    data: str
    partition: int
    offset: int
    """Where the event lies in the results."""
    appended_ms: int
    since_ms: int
    due_ms: int
    subject: str | None = None
    time: str | None = None
    traceparent: str | None = None
    webhook: str | None = None
    """The request's own webhook as its event carries it."""
    attempts: int = 0
    last: str = ""
    """What the last attempt came to."""

    @property
    def key(self) -> bytes:
        """Of its record. An event goes to an endpoint once, however often it is read."""
        return f"{self.tenant}/{self.endpoint}/{self.id}".encode()

    @property
    def destination(self) -> Destination:
        """What it waits in line for."""
        return (self.tenant, self.endpoint or f"={self._own_server}")

    @property
    def _own_server(self) -> str:
        own = None if self.webhook is None else own_webhook(self.webhook)
        parts = urlsplit("" if own is None else own.url)
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @property
    def body(self) -> bytes:
        """What is posted: the same bytes at each attempt. The data are the event's own, to the byte."""
        head = json.dumps({"type": self.type, "timestamp": self.time})[:-1]
        return f'{head}, "data": {self.data}}}'.encode()

    def record(self, topic: str, partition: int) -> Outgoing:
        """Its record in the stage's own topic."""
        return Outgoing(topic, msgspec.json.encode(self), self.key, partition=partition)

    def event(self, topic: str) -> Record:
        """The event as it lay in the results, with the name of the endpoint."""
        envelope = Envelope(
            self.id,
            self.type,
            self.source,
            self.data.encode(),
            subject=self.subject,
            time=self.time,
            traceparent=self.traceparent,
            extensions={} if self.webhook is None else {WEBHOOK: self.webhook},
        )
        headers = (*envelope.headers(), (ENDPOINT_HEADER, self.endpoint.encode()))
        return Record(
            topic, self.partition, self.offset, self.appended_ms, self.tenant.encode(), envelope.data, headers
        )


def read_owed(value: bytes) -> Owed:
    """What a record of the stage's topic holds."""
    return msgspec.json.decode(value, type=Owed)


def own_webhook(text: str) -> RequestWebhook | None:
    """The webhook that an event's header names; None if there is none that can be read."""
    try:
        return RequestWebhook.model_validate_json(text)
    except ValueError:
        return None

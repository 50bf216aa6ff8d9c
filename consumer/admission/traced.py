"""The spans of a batch that was committed: each decision from the append of what it answers, each wait in the queue."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

import msgspec

from consumer.admission.requests import OpenRequest
from consumer.admission.rules import Rules
from consumer.admission.state import PartitionState, RequestKey
from schemas.events import TERMINAL
from schemas.jobs import JobAssigned
from transport.records import Outgoing
from transport.tracing import tracing

__all__ = ["trace_batch"]


class _About(msgspec.Struct):
    tenant: str
    request_id: str
    attempt: int = 0


def trace_batch(messages: Iterable[Outgoing], state: PartitionState, rules: Rules) -> None:
    """Call it when ``messages`` are committed, and only where tracing is on."""
    now_ns = time.time_ns()
    for out in messages:
        headers = {name: (value or b"").decode() for name, value in out.headers}
        traceparent, event_type = headers.get("traceparent"), headers.get("ce_type", "")
        if traceparent is None:
            continue
        if out.topic == rules.topics.results:
            _decided(headers, event_type, rules, now_ns)
        elif event_type == JobAssigned.TYPE:
            about = msgspec.json.decode(out.value or b"{}", type=_About)
            request = state.requests.get(RequestKey(about.tenant, about.request_id))
            if isinstance(request, OpenRequest) and about.attempt == 1:
                attributes = {"easel.tenant": about.tenant, "easel.request_id": about.request_id}
                tracing.span(
                    "wait in the queue",
                    traceparent,
                    request.accepted_ms * 1_000_000,
                    ended_ns=now_ns,
                    attributes={**attributes, "easel.pool": request.pool},
                )


def _decided(headers: dict[str, str], event_type: str, rules: Rules, now_ns: int) -> None:
    # The time of a result is the append time of the record that it answers.
    began_ns = int(datetime.fromisoformat(headers["ce_time"]).timestamp() * 1_000) * 1_000_000
    read = rules.topics.outcomes if event_type in TERMINAL else rules.topics.requests
    tracing.span(
        f"process {read}",
        headers["traceparent"],
        began_ns,
        ended_ns=now_ns,
        kind="consumer",
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": read,
            "messaging.destination.partition.id": str(rules.partition),
            "messaging.consumer.group.name": rules.topics.group("admission"),
            "easel.request_id": headers["ce_subject"],
            "easel.decision": event_type.split(".")[2],
        },
    )

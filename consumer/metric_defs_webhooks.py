"""The metrics of the webhooks stage."""

from __future__ import annotations

from consumer.metric_kinds import SLOW_S, Definition, counter, gauge, histogram

__all__ = ["WEBHOOKS"]

WEBHOOKS: tuple[Definition, ...] = (
    gauge(
        "easel_webhooks_owed",
        "events",
        ("partition",),
        "Events that wait to be delivered, or to be tried again.",
        "Look which endpoint does not answer: the log says `not delivered`, with its name and the reason.",
    ),
    counter(
        "easel_webhooks_attempts_total",
        "attempts",
        ("tenant", "result"),
        "Attempts at deliveries by what came of them: `ok`, `3xx`, `4xx`, `5xx`, or `no_answer`.",
        "`3xx`: the endpoint has moved, and redirects are not followed. `4xx`: often a wrong secret.",
    ),
    counter(
        "easel_webhooks_ended_total",
        "events",
        ("tenant", "result"),
        "Events that are owed no longer: `delivered`, or the code of their dead letter.",
        "`easel dead-letters list --code webhook_undeliverable` shows them; `replay` delivers them again.",
    ),
    histogram(
        "easel_webhooks_attempt_seconds",
        SLOW_S,
        "seconds",
        "How long an attempt took.",
        "A slow endpoint waits for itself alone; `EASEL_WEBHOOKS_TIMEOUT_S` bounds each attempt.",
    ),
)

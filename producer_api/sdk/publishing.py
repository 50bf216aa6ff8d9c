"""Publishing with patience: the same bytes again until Kafka has them, for as long as the caller waits."""

from __future__ import annotations

import asyncio
import random

from producer_api.sdk.exceptions import TimedOut, Unreachable
from transport.errors import Doubt, Misconfigured, Unavailable
from transport.kafka import Publisher
from transport.records import Outgoing

__all__ = ["publish"]

_ATTEMPT_S = 10.0
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 2.0


async def publish(publisher: Publisher, record: Outgoing, request_id: str, *, timeout_s: float) -> None:
    """Write ``record``; one whose outcome is unknown is written again, for admission recognizes it.

    Raises:
        TimedOut: not acknowledged within ``timeout_s``. It may be written nonetheless.
        Unreachable: Kafka refuses this client.
    """
    ends_at = asyncio.get_running_loop().time() + timeout_s
    backoff_s = _BACKOFF_S
    while True:
        left_s = ends_at - asyncio.get_running_loop().time()
        try:
            await publisher.publish(record, timeout_s=max(0.0, min(left_s, _ATTEMPT_S)))
            return
        except Misconfigured as error:
            raise Unreachable(str(error), request_id=request_id) from error
        except (Unavailable, Doubt) as error:
            # Spread out, so that all publishers of a cluster that comes back don't come back with it at once.
            pause_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311
            if asyncio.get_running_loop().time() + pause_s >= ends_at:
                raise TimedOut(f"not acknowledged within {timeout_s:g} s: {error}", request_id=request_id) from error
            await asyncio.sleep(pause_s)
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

"""An attempt is answered by whatever happens: nothing of it is raised."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.webhooks.owed import Owed
from consumer.webhooks.posting import attempt
from schemas.endpoints import Target
from transport.outbound import OutboundPolicy

OWED = Owed("acme", "cms", "1", "easel.generation.succeeded.v1", "easel", "{}", 0, 0, 0, 0, 0)


async def test_what_nobody_foresaw_is_an_attempt_that_failed() -> None:
    async def broken(name: str) -> Sequence[str]:
        raise RuntimeError(name)

    target = Target("https://receiver.example/", frozenset(), (b"secret",))
    answer = await attempt(OWED, target, policy=OutboundPolicy(resolve=broken), timeout_s=5)
    assert (answer.well, answer.status) == (False, None)
    assert "RuntimeError" in answer.said
    assert "receiver.example" not in answer.said

"""A loop that hangs up on TLS peers which have not said goodbye when it ends.

The Kafka client does not wait for the end of some connections that it closed, such as one whose sign-in failed. Until
the broker answers the goodbye, their sockets are open; left so, the collector reports them in whichever test runs then.
"""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol, SSLProtocolState
from collections.abc import Mapping
from typing import Any

__all__ = ["LoopPolicy"]

_LEAVING = {SSLProtocolState.FLUSHING, SSLProtocolState.SHUTDOWN}


class _Loop(asyncio.SelectorEventLoop):
    _transports: Mapping[int, Any]

    def close(self) -> None:
        if not self.is_closed():
            leaving = [one for one in self._transports.values() if _leaves(one.get_protocol())]
            for transport in leaving:
                transport.abort()
            if leaving:
                self.run_until_complete(asyncio.sleep(0))
        super().close()


def _leaves(protocol: object) -> bool:
    # No others: a connection that nobody closed is a fault.
    return isinstance(protocol, SSLProtocol) and getattr(protocol, "_state", None) in _LEAVING


class LoopPolicy(asyncio.DefaultEventLoopPolicy):
    """For all loops of the tests, those of `asyncio.run` too."""

    _loop_factory = _Loop

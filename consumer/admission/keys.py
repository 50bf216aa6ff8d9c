"""Under which name a request is known."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["RequestKey"]


class RequestKey(NamedTuple):
    """Who asked, and under which id: ids of different tenants never meet."""

    tenant: str
    request_id: str

"""A picture fetched by its URL leaves nothing open behind, also when the store refuses."""

from __future__ import annotations

import psutil
import pytest

from producer_api.sdk.download import by_url
from producer_api.sdk.exceptions import ClientError, ResultGone, Unreachable
from schemas.outputs import Output
from tests.transport.servers import answer, serving

OUTPUT = Output(index=0, key="a.png", sha256="0" * 64, bytes=10, media_type="image/png", width=8, height=8, seed=1)


@pytest.mark.parametrize(("status", "said"), [(404, ResultGone), (403, Unreachable), (500, Unreachable)])
async def test_a_refused_download_keeps_no_connection(status: int, said: type[ClientError]) -> None:
    """Although whoever asked keeps the error, and nobody has read what came with the refusal."""
    async with serving(answer(status, b"<html>" * 50_000)) as server:
        with pytest.raises(said) as refused:
            await by_url(f"http://127.0.0.1:{server.port}/a.png", OUTPUT, 5)
        assert (server.port,) not in [one.raddr[1:] for one in psutil.Process().net_connections()], refused.value

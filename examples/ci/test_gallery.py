"""Your service, tested against a real easel: nothing is mocked."""

import pytest

from producer_api import RequestRejected, SyncClient


def illustrate(client: SyncClient, article: str) -> bytes:
    """Stands for your service's own code."""
    handle = client.submit(f"an illustration of {article}", model="easel-tiny", idempotency_key=f"article-{article}")
    return client.download(handle.result(timeout_s=60).outputs[0])


@pytest.mark.usefixtures("easel")
def test_an_article_has_one_picture() -> None:
    with SyncClient.from_env() as client:
        assert illustrate(client, "stars").startswith(b"\x89PNG")
        assert illustrate(client, "stars") == illustrate(client, "stars")
        assert len([entry for entry in client.usage() if entry.TYPE == "easel.usage.settled.v1"]) == 1


@pytest.mark.usefixtures("easel")
def test_a_model_that_is_not_there_is_said() -> None:
    with SyncClient.from_env() as client, pytest.raises(RequestRejected) as refused:
        client.submit("a star", model="missing").result(timeout_s=60)
    assert refused.value.error.code == "model_not_found"

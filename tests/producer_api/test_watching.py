"""Who watches a request learns the newest of each kind, and always its end."""

from __future__ import annotations

import asyncio

from producer_api.watching import Watchers
from schemas.ids import new_id
from schemas.previews import GenerationPreview
from tests.producer_api.support import TENANT, accepted, duplicate, failed, rejected, started, step, succeeded


def preview(id_: str, index: int, number: int) -> GenerationPreview:
    return GenerationPreview(
        tenant=TENANT, request_id=id_, attempt=1, index=index, step=number, steps=12, image_base64="eA=="
    )


async def test_a_reader_who_comes_late_takes_the_newest_of_each_kind() -> None:
    id_, watchers = new_id(), Watchers()
    end = succeeded(id_)
    with watchers.watch(TENANT, id_) as watch:
        assert not watch.news().done()
        watchers.tell(end)
        for number in range(100):
            watchers.tell(step(id_, number))
            watchers.tell(preview(id_, number % 2, number))
        watchers.tell(accepted(id_))
        assert watch.news().done()
        assert watch.take() == [accepted(id_), step(id_, 99), preview(id_, 0, 98), preview(id_, 1, 99), end]
        assert watch.take() == []
        assert not watch.news().done()


async def test_a_waiting_reader_is_woken_once_and_by_each_event() -> None:
    id_, watchers = new_id(), Watchers()
    with watchers.watch(TENANT, id_) as watch:
        for event in (accepted(id_), started(id_), step(id_, 1), preview(id_, 0, 1), failed(id_), rejected(id_)):
            news = watch.news()
            assert not news.done()
            watchers.tell(event)
            await asyncio.wait_for(news, 1)
            assert watch.take() == [event]


async def test_only_the_tenants_own_request_is_told_of_and_nothing_stays_behind() -> None:
    id_, watchers = new_id(), Watchers()
    with watchers.watch(TENANT, id_) as watch, watchers.watch(TENANT, id_) as second:
        watchers.tell(accepted(id_, tenant="globex"))
        watchers.tell(accepted(new_id()))
        watchers.tell(duplicate(id_))
        assert not watch.news().done()
        watchers.tell(accepted(id_))
        assert watch.take() == second.take() == [accepted(id_)]
    assert watchers._watches == {}

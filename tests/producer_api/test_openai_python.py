"""OpenAI's own client for Python, against a whole installation."""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from PIL import Image

from tests.producer_api.whole import Whole

pytestmark = [pytest.mark.system]

PROMPT = "a red circle"


@pytest.fixture
def client(whole_house: Whole) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{whole_house.url}/v1", api_key="acme", max_retries=0, timeout=60) as client:
        yield client


def picture(data: str | None) -> Image.Image:
    """What base64 holds."""
    assert data
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def size_of(image: Image.Image) -> tuple[int, int]:
    return image.size


def task_of(whole_house: Whole, response: Any) -> dict[str, Any]:
    found = whole_house.get(f"/v1/tasks/{response.headers['easel-request-id']}")
    assert found.status_code == 200, found.text
    return dict(found.json())


def test_the_models_are_listed_with_their_aliases(client: OpenAI) -> None:
    assert [(model.id, model.object, model.owned_by) for model in client.models.list()] == [
        ("nothing", "model", "easel"),
        ("gpt-image-2", "model", "easel"),
    ]
    assert abs(client.models.retrieve("gpt-image-2").created - time.time()) < 600
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("gpt-image-9")
    assert unknown.value.code == "model_not_found"


def test_two_pictures_in_base64(whole_house: Whole, client: OpenAI) -> None:
    raw = client.images.with_raw_response.generate(prompt=PROMPT, model="gpt-image-2", n=2, size="96x64")
    answer = raw.parse()
    assert answer.data is not None
    assert [size_of(picture(one.b64_json)) for one in answer.data] == [(96, 64)] * 2
    assert answer.data[0].b64_json != answer.data[1].b64_json
    assert abs(answer.created - time.time()) < 60
    assert (answer.size, answer.quality, answer.output_format, answer.background) == (
        "96x64",
        "medium",
        "png",
        "opaque",
    )
    task = task_of(whole_house, raw)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.output_tokens == task["cost_milliunits"] > 0
    assert task["model"] == "nothing"
    assert len(raw.headers["x-request-id"]) >= 32
    assert int(raw.headers["openai-processing-ms"]) >= 200


def test_a_link_in_jpeg(client: OpenAI) -> None:
    answer = client.images.generate(
        prompt=PROMPT, model="nothing", response_format="url", output_format="jpeg", output_compression=60, user="u-1"
    )
    assert answer.data is not None
    [one] = answer.data
    assert one.url is not None and one.b64_json is None
    fetched = httpx.get(one.url)
    assert fetched.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(fetched.content)).format == "JPEG"


def test_quality_is_steps_and_fields_of_ours_are_taken(whole_house: Whole, client: OpenAI) -> None:
    def made(**fields: Any) -> dict[str, Any]:
        raw = client.images.with_raw_response.generate(prompt=PROMPT, model="nothing", **fields)
        return task_of(whole_house, raw)

    costs = {quality: made(quality=quality)["cost_milliunits"] for quality in ("low", "auto", "high")}
    assert costs["low"] * 2 == costs["auto"] == costs["high"] / 2
    seeded = made(style="vivid", user="u-1", extra_body={"seed": 7, "metadata": {"post": "4711"}})
    assert seeded["outputs"][0]["seed"] == 7
    assert seeded["metadata"] == {"post": "4711", "user": "u-1"}


def test_a_stream_shows_partial_images_and_ends_with_each_picture(client: OpenAI) -> None:
    events = list(
        client.images.generate(
            prompt=PROMPT, model="nothing", n=2, stream=True, partial_images=2, extra_body={"steps": 48}
        )
    )
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"] * 2
    assert [getattr(event, "partial_image_index", None) for event in events] == [0, 1, None, None]
    for event in events:
        assert picture(event.b64_json).size >= (8, 8)
        assert abs(event.created_at - time.time()) < 60
    assert [event.output_format for event in events] == ["jpeg", "jpeg", "png", "png"]
    assert hashlib.sha256(events[2].b64_json.encode()) != hashlib.sha256(events[3].b64_json.encode())


def test_a_stream_without_partial_images_is_one_event(client: OpenAI) -> None:
    [event] = list(client.images.generate(prompt=PROMPT, model="nothing", stream=True))
    assert event.type == "image_generation.completed"
    assert event.usage.total_tokens > 0


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def half_open(size: tuple[int, int] = (64, 64)) -> bytes:
    """A mask: transparent on the left, so that only that is to be made anew."""
    mask = Image.new("RGBA", size, (9, 9, 9, 255))
    mask.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
    return png(mask)


GREEN = png(Image.new("RGB", (64, 64), (0, 200, 0)))


def test_only_what_the_mask_leaves_transparent_is_made_anew(client: OpenAI) -> None:
    answer = client.images.edit(
        image=("green.png", GREEN), mask=("mask.png", half_open()), prompt=PROMPT, model="gpt-image-2", n=2, size="auto"
    )
    assert answer.data is not None and answer.size == "64x64"
    for one in answer.data:
        made = picture(one.b64_json).convert("RGB")
        assert made.crop((32, 0, 64, 64)).getcolors() == [(32 * 64, (0, 200, 0))]
        assert made.crop((0, 0, 32, 64)).getcolors() != [(32 * 64, (0, 200, 0))]


def test_a_picture_is_made_from_another_in_a_stream_and_of_its_shape(client: OpenAI) -> None:
    wide = png(Image.new("RGB", (400, 100), (0, 200, 0)))
    events = list(
        client.images.edit(
            image=[("wide.png", wide)],
            prompt=PROMPT,
            model="nothing",
            stream=True,
            partial_images=1,
            extra_body={"steps": 40, "strength": 1.0},
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert picture(events[1].b64_json).size == (128, 64)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"image": [("a.png", GREEN), ("b.png", GREEN)]}, "image"),
        ({"image": ("a.png", b"not a picture")}, "image"),
        ({"mask": ("mask.png", half_open((32, 32)))}, "mask"),
        ({"mask": ("mask.png", GREEN)}, "mask"),
        ({"input_fidelity": "high"}, "input_fidelity"),
        ({"extra_body": {"markup": "x"}}, "markup"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_an_edit_that_is_not_served_is_refused_by_name(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(**{"image": ("a.png", GREEN), "prompt": PROMPT, "model": "nothing", **fields})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"n": 11}, "n"),
        ({"size": "64"}, "size"),
        ({"size": "63x64"}, "width"),
        ({"quality": "best"}, "quality"),
        ({"background": "transparent"}, "background"),
        ({"moderation": "low"}, "moderation"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"style": "natural"}, "style"),
        ({"extra_body": {"svg": {"model": "x"}}}, "svg"),
        ({"stream": True, "partial_images": 4}, "partial_images"),
        ({"stream": True, "style": "natural"}, "style"),
    ],
)
def test_what_is_not_served_is_refused_by_name(client: OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**{"prompt": PROMPT, "model": "nothing", **fields})
    assert refused.value.param == param
    assert param in refused.value.message
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_others_errors_are_those_that_the_client_knows(whole_house: Whole, client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as nobody:
        client.with_options(api_key="wrong").images.generate(prompt=PROMPT, model="nothing")
    assert nobody.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(prompt=PROMPT, model="dall-e-3")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    slow = client.with_options(api_key="slow-python")
    first = slow.images.with_raw_response.generate(prompt=PROMPT, model="nothing")
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    with pytest.raises(openai.RateLimitError) as limited:
        first = slow.images.with_raw_response.generate(prompt=PROMPT, model="nothing")
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert limited.value.code == "rate_limit_exceeded"
    assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60
    told = limited.value.response.headers
    assert (told["x-should-retry"], told["x-ratelimit-remaining-requests"]) == ("true", "0")
    assert told["x-ratelimit-reset-requests"] == f"{told['retry-after']}s"


def test_who_waits_too_long_is_told_where_it_is_and_a_key_finds_it_again(whole_house: Whole, client: OpenAI) -> None:
    asked: dict[str, Any] = {"prompt": PROMPT, "model": "nothing", "extra_body": slow_as("late")}
    with pytest.raises(openai.InternalServerError) as late:
        client.images.generate(**asked, extra_headers={"Idempotency-Key": "order-7"})
    assert late.value.status_code == 504
    assert late.value.response.headers["x-should-retry"] == "true"
    id_ = late.value.response.headers["easel-request-id"]
    assert f"/v1/tasks/{id_}" in late.value.message
    # As the client does by itself unless it is told otherwise.
    again = client.with_options(max_retries=3).images.with_raw_response.generate(
        **asked, extra_headers={"Idempotency-Key": "order-7"}
    )
    assert again.headers["easel-request-id"] == id_
    assert again.parse().data
    assert [end["request_id"] for end in whole_house.ends("late")] == [id_]


def test_without_a_key_the_client_is_told_not_to_repeat_it(whole_house: Whole, client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as late:
        client.with_options(max_retries=2).images.generate(
            prompt=PROMPT, model="nothing", extra_body=slow_as("late, no key")
        )
    assert late.value.response.headers["x-should-retry"] == "false"
    assert [end["kind"] for end in whole_house.ends("late, no key")] == ["generation.succeeded"]


def test_a_stream_that_takes_too_long_ends_with_the_same_error(client: OpenAI) -> None:
    with pytest.raises(openai.APIError) as late:
        list(client.images.generate(prompt=PROMPT, model="nothing", stream=True, extra_body=slow_as("stream")))
    assert late.value.code == "not_ended"
    assert "/v1/tasks/" in late.value.message


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_has_it_canceled(whole_house: Whole, client: OpenAI, stream: bool) -> None:
    who = f"left, stream {stream}"
    if stream:
        events = client.images.generate(
            prompt=PROMPT, model="nothing", stream=True, partial_images=3, extra_body=slow_as(who)
        )
        next(iter(events))
        events.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=1.0).images.generate(prompt=PROMPT, model="nothing", extra_body=slow_as(who))
    assert [end["kind"] for end in whole_house.ends(who)] == ["generation.canceled"]


def slow_as(who: str) -> dict[str, Any]:
    """A request that takes at least 5 s, and how to find it."""
    return {"steps": 100, "metadata": {"who": who}}

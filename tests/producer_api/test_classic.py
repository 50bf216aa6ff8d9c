"""``POST /api/v1/generate`` and the task that it makes: its fields, and a client's whole way."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from producer_api.classic.body import read_classic_body
from schemas.errors import EaselError
from tests.producer_api.test_token import flat
from tests.producer_api.whole import PASSWORD, USER, Whole


def asked(**fields: Any) -> dict[str, Any]:
    body = read_classic_body({"prompt": "a red circle", **fields})
    return body.to_request("m").model_dump(exclude_defaults=True)


class TestFields:
    def test_each_is_what_it_is_called_in_a_request(self) -> None:
        assert asked(
            negative_prompt="blur",
            num_images=3,
            width=96,
            height=64,
            num_inference_steps=9,
            guidance_scale=3,
            seed=7,
            style_preset="photo",
            output_format="jpg",
            quality=80,
            priority="high",
            metadata={"post": "1"},
        ) == {
            "prompt": "a red circle",
            "model": "m",
            "negative_prompt": "blur",
            "images": 3,
            "width": 96,
            "height": 64,
            "steps": 9,
            "guidance": 3.0,
            "seed": 7,
            "style": "photo",
            "format": "jpeg",
            "quality": 80,
            "priority": "high",
            "metadata": {"post": "1"},
        }

    @pytest.mark.parametrize(
        "fields",
        [
            {"seed": -1},
            {"style_preset": "none"},
            {"style_preset": ""},
            {"seed": None, "width": None, "num_images": None},
            {"cfg_scale": None, "guidance_scale": None},
        ],
    )
    def test_what_was_left_open_is_left_open(self, fields: dict[str, Any]) -> None:
        assert asked(**fields) == {"prompt": "a red circle", "model": "m"}

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"num_images": 11}, "num_images"),
            ({"cfg_scale": 60}, "cfg_scale"),
            ({"guidance_scale": 60}, "cfg_scale"),
            ({"steps": 0}, "steps"),
            ({"steps": 4, "num_inference_steps": 5}, "num_inference_steps"),
            ({"style_preset": "a style?"}, "style_preset"),
            ({"seed": -2}, "seed"),
            ({"sampler": "ddim"}, "sampler"),
            ({"prompt": " "}, "prompt"),
        ],
    )
    def test_what_is_wrong_is_named_as_it_was_sent(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(EaselError) as refused:
            asked(**fields)
        assert refused.value.param == param
        assert param in refused.value.message


@pytest.mark.system
class TestAClient:
    def test_from_the_password_to_the_picture(self, whole_house: Whole) -> None:
        with httpx.Client(base_url=whole_house.url, timeout=20) as http:
            token = http.post("/token", data={"username": USER, "password": PASSWORD}).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            fields = {"prompt": "a red circle", "num_images": 2, "cfg_scale": 1.5, "steps": 4, "style_preset": "vivid"}
            made = http.post("/api/v1/generate", json={**fields, "seed": 7})
            assert made.status_code == 200, made.text
            task = made.json()
            assert (task["status"], task["images"]) == ("pending", [])
            path = f"/v1/task/{task['task_id']}"
            statuses = set()
            ends = time.monotonic() + 60
            while task["status"] not in {"completed", "failed"} and time.monotonic() < ends:
                time.sleep(0.05)
                task = http.get(path).json()
                statuses.add(task["status"])
            assert statuses <= {"pending", "processing", "completed"}, task
            assert [one["seed"] for one in task["images"]] == [7, 8]
            assert http.get(f"/api{path}").json()["status"] == "completed"
            # The link needs no key.
            assert httpx.get(task["images"][1]["url"]).content.startswith(b"\x89PNG")
            flat(http.post("/api/v1/generate", json={**fields, "num_images": 11}), 400, "invalid_request")
            flat(http.post("/api/v1/generate", json={**fields, "style_preset": "sepia"}), 400, "limit_exceeded")
            flat(http.post("/api/v1/generate", content=b"{"), 400, "invalid_request")
            flat(http.get("/v1/task/no-such-task"), 404, "not_found")
        mine = {"X-API-KEY": "acme"}
        assert httpx.get(f"{whole_house.url}{path}", headers=mine).json()["status"] == "completed"
        flat(httpx.get(f"{whole_house.url}{path}", headers={"X-API-KEY": "slow-classic"}), 404, "not_found")
        flat(httpx.get(f"{whole_house.url}{path}"), 401, "api_key_invalid")

    def test_a_limit_of_the_tenant(self, whole_house: Whole) -> None:
        asked = {"prompt": "a red circle"}
        answers = [
            httpx.post(
                f"{whole_house.url}/api/v1/generate", json=asked, headers={"X-API-KEY": "slow-classic"}, timeout=20
            )
            for _ in range(2)
        ]
        assert answers[0].status_code == 200
        flat(answers[1], 429, "rate_limited")
        assert int(answers[1].headers["retry-after"]) <= 60

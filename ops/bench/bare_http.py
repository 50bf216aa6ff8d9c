"""What people write when they put Kafka behind HTTP: FastAPI, PyJWT and aiokafka, in their best form.

Frozen, as ``bare.py`` is: a figure is a ratio to it. It imports nothing of easel. It validates the body, signs it,
publishes it and answers 202 once all replicas have it. It asks nobody whether the request may be: it knows no tenants,
no limits and no state, writes no log and counts nothing.

Run as a program: ``bare_http.py BOOTSTRAP TOPIC PORT``. ``GET /health/ready`` answers once it may be asked.
"""

from __future__ import annotations

import hashlib
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

SECRET = b"a secret of thirty-two bytes and more"


class Asked(BaseModel):
    """One request."""

    model: str
    prompt: str = Field(min_length=1, max_length=2_000)
    negative_prompt: str | None = None
    images: int = Field(default=1, ge=1, le=10)
    width: int | None = Field(default=None, ge=16, le=4_096)
    height: int | None = Field(default=None, ge=16, le=4_096)
    steps: int | None = Field(default=None, ge=1, le=150)
    seed: int | None = Field(default=None, ge=0)
    metadata: dict[str, str] = Field(default_factory=dict)


class Answer(BaseModel):
    """Its name, and that it was published."""

    id: str
    state: str


def create_app(bootstrap: str, topic: str) -> FastAPI:
    """The service."""
    from aiokafka import AIOKafkaProducer

    producers: list[Any] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
        await producer.start()
        producers.append(producer)
        yield
        await producer.stop()

    app = FastAPI(lifespan=lifespan)

    @app.get("/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/v1/generate", status_code=202)
    async def generate(asked: Asked) -> Answer:
        name, now = str(uuid.uuid4()), int(time.time())
        body = asked.model_dump_json(exclude_defaults=True).encode()
        claims = {
            "iss": "bare",
            "sub": "tenant",
            "aud": "easel",
            "type": "easel.generation.requested.v1",
            "iat": now,
            "exp": now + 3600,
            "jti": name,
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        token = jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "bare-1"})
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", name.encode()),
            ("ce_type", b"easel.generation.requested.v1"),
            ("ce_source", b"bare"),
            ("ce_signature", token.encode()),
        ]
        await producers[0].send_and_wait(topic, body, key=b"tenant", headers=headers)
        return Answer(id=name, state="published")

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1], sys.argv[2]),
        port=int(sys.argv[3]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )

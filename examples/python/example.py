"""Ask easel for a picture over Kafka, follow the request to its end, and fetch the picture."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import uuid_utils
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from minio import Minio

REQUESTED = "easel.generation.requested.v1"
SUCCEEDED = "easel.generation.succeeded.v1"
ENDS = {SUCCEEDED, *(f"easel.generation.{end}.v1" for end in ("failed", "canceled", "rejected"))}
LIMIT_S = 120

env = os.environ
tenant = env["EASEL_TENANT"]
servers = env.get("EASEL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
prefix = env.get("EASEL_KAFKA_PREFIX", "easel")


def signed(request_id: str, body: bytes) -> str:
    """The token for the header ``ce_signature``."""
    now = int(time.time())
    claims = {
        "iss": tenant,
        "sub": tenant,
        "aud": env.get("EASEL_INSTALLATION", "easel"),
        "type": REQUESTED,
        "jti": request_id,
        "iat": now,
        "exp": now + 3600,
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    key = Path(env["EASEL_KEY_FILE"]).read_text()
    return jwt.encode(claims, key, "EdDSA", headers={"typ": "easel-request+jwt", "kid": env["EASEL_KID"]})


async def publish(request_id: str, body: bytes) -> None:
    headers = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": request_id,
        "ce_type": REQUESTED,
        "ce_source": "example-python",
        "ce_signature": signed(request_id, body),
    }
    async with AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True) as producer:
        pairs = [(name, value.encode()) for name, value in headers.items()]
        await producer.send_and_wait(f"{prefix}.requests", body, key=tenant.encode(), headers=pairs)


async def ended(results: AIOKafkaConsumer, request_id: str) -> tuple[str, dict[str, Any]]:
    """The type and the data of the event that ends the request."""
    async for record in results:
        headers = {name: value.decode() for name, value in record.headers}
        if headers.get("ce_subject") == request_id:
            print(request_id, headers["ce_type"], flush=True)
            if headers["ce_type"] in ENDS:
                return headers["ce_type"], json.loads(record.value)
    raise RuntimeError("the consumer was closed")


def fetch(request_id: str, output: dict[str, Any]) -> None:
    store = Minio(
        env.get("EASEL_STORE_ENDPOINT", "127.0.0.1:9000"),
        access_key=Path(env["EASEL_STORE_ACCESS_KEY_FILE"]).read_text().strip(),
        secret_key=Path(env["EASEL_STORE_SECRET_KEY_FILE"]).read_text().strip(),
        secure=env.get("EASEL_STORE_SECURE") == "true",
        # Said, because asking the store for it is a right that a tenant need not have.
        region=env.get("EASEL_STORE_REGION", "us-east-1"),
    )
    file = Path(f"{request_id}-{output['index']}{Path(output['key']).suffix}")
    store.fget_object(env.get("EASEL_STORE_BUCKET", "easel"), output["key"], str(file))
    if hashlib.sha256(file.read_bytes()).hexdigest() != output["sha256"]:
        sys.exit(f"{file} is not the picture that the event names")
    print(file, output["bytes"], "bytes", flush=True)


async def main(prompt: str) -> None:
    request_id = str(uuid_utils.uuid7())
    body = json.dumps({"prompt": prompt, "model": "easel-tiny"}).encode()
    consumer = AIOKafkaConsumer(
        f"{prefix}.results",
        bootstrap_servers=servers,
        isolation_level="read_committed",
        auto_offset_reset="latest",
    )
    async with consumer as results, asyncio.timeout(LIMIT_S):
        # Where the topic ends now, before there can be an answer.
        for partition in results.assignment():
            await results.position(partition)
        await publish(request_id, body)
        kind, data = await ended(results, request_id)
    if kind != SUCCEEDED:
        sys.exit(data.get("error", {}).get("message", kind))
    for output in data["outputs"]:
        fetch(request_id, output)


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "a large red circle on a white background"))

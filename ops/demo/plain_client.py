"""Ask easel for pictures with any Kafka client and any JWT library. Nothing of easel is imported here.

    python plain_client.py --tenant bureau --kid bureau-1 --key bureau-1.key "a small red circle on a white background"

Without prompts, each line of standard input is the data of one request, as JSON. Every event about these requests is
printed as a line of JSON, until the last of them has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import secrets
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

REQUESTED = "easel.generation.requested.v1"
ENDS = {f"easel.generation.{end}.v1" for end in ("succeeded", "failed", "canceled", "rejected", "duplicate")}


def uuid7() -> str:
    """A UUIDv7: 48 bits of time in ms, and chance (RFC 9562, 5.7)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return str(uuid.UUID(int=number))


def signed_headers(
    body: bytes, request_id: str, *, tenant: str, kid: str, key: str, alg: str, audience: str
) -> list[tuple[str, bytes]]:
    """The headers of a request: a CloudEvent in binary mode, and the token that signs it."""
    now = int(time.time())
    claims = {
        "iss": tenant,
        "sub": tenant,
        "aud": audience,
        "type": REQUESTED,
        "jti": request_id,
        "iat": now,
        "exp": now + 3600,
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    token = jwt.encode(claims, key, algorithm=alg, headers={"typ": "easel-request+jwt", "kid": kid})
    headers = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": request_id,
        "ce_type": REQUESTED,
        "ce_source": tenant,
        "ce_signature": token,
    }
    return [(name, value.encode()) for name, value in headers.items()]


async def run(options: argparse.Namespace, requests: list[dict[str, Any]]) -> None:
    """Publish the requests and print what becomes of them."""
    key = Path(options.key).read_text()  # noqa: ASYNC240 - before anything else runs
    producer = AIOKafkaProducer(bootstrap_servers=options.bootstrap, acks="all", enable_idempotence=True)
    # Results are transactional: read only what was committed. The position is taken before anything is published.
    results = AIOKafkaConsumer(
        f"{options.prefix}.results", bootstrap_servers=options.bootstrap, isolation_level="read_committed"
    )
    async with producer, results:
        await results.seek_to_end()
        for partition in results.assignment():
            await results.position(partition)
        waiting: set[str] = set()
        for data in requests:
            request_id, body = uuid7(), json.dumps(data).encode()
            headers = signed_headers(
                body,
                request_id,
                tenant=options.tenant,
                kid=options.kid,
                key=key,
                alg=options.alg,
                audience=options.audience,
            )
            await producer.send_and_wait(
                f"{options.prefix}.requests", body, key=options.tenant.encode(), headers=headers
            )
            show({"request_id": request_id, "type": "published", "data": data})
            waiting.add(request_id)
        async for record in results:
            attributes = {name: value.decode() for name, value in record.headers}
            request_id = attributes.get("ce_subject", "")
            if request_id in waiting:
                show({"request_id": request_id, "type": attributes["ce_type"], "data": json.loads(record.value)})
                if attributes["ce_type"] in ENDS:
                    waiting.discard(request_id)
                    if not waiting:
                        return


def show(event: dict[str, Any]) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read the command line; exit code 1 when the time is up first."""
    parser = argparse.ArgumentParser(description="Ask easel for pictures over Kafka.")
    parser.add_argument("prompts", nargs="*")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--prefix", default="easel", help="of the topics")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--kid", required=True, help="name of the key, as tenants.yaml has it")
    parser.add_argument("--key", required=True, help="file with the private key")
    parser.add_argument("--alg", default="ES256")
    parser.add_argument("--audience", default="easel", help="name of the installation")
    parser.add_argument("--model", default="easel-tiny")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait for the results")
    options = parser.parse_args()
    requests = [{"prompt": prompt, "model": options.model} for prompt in options.prompts]
    requests = requests or [json.loads(line) for line in sys.stdin if line.strip()]
    try:
        asyncio.run(asyncio.wait_for(run(options, requests), options.wait))
    except TimeoutError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The bare loops that easel is measured against: the libraries alone, used well, with nothing of easel in them.

Frozen: a figure is a ratio to these loops, so a change here makes all older figures incomparable. Results name the
SHA-256 of this file.

Run as a program, it is one of two. ``bare.py FOLDER DTYPE DEVICE THREADS`` is the bare diffusers loop. It prints a line
of JSON when the pipeline is loaded, then reads lines of JSON (``width``, ``height``, ``steps``, ``guidance``,
``prompts``, ``seeds``, ``batches``), makes that batch so many times, and answers each with ``{"seconds", "cpu_seconds",
"sha256"}``: the time and the processor time of all batches, and the hash of the RGB bytes of each picture of the last.

``bare.py stream ROLE PLAN`` is a part of the bare loop of two hops on Kafka: the topics, transactions and number of
messages that a request has, with fixed bytes and no decision. ``admit`` is exactly once, ``work`` at least once, and
``drive`` publishes prepared requests: for each line of JSON (``file``, ``per_s``: null for all at once) it answers
``{"seconds", "latencies_ms"}`` when the last request of the file has ended. ``PLAN`` is a file of JSON (``bootstrap``,
``prefix``, ``partitions``, ``jobs_partitions``, ``store``). Each prints a line of JSON when it is ready.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jwt

READY = json.dumps({"ready": True})
CLAIMS = ["iss", "sub", "aud", "type", "iat", "exp", "jti", "body_sha256"]


class Signed(NamedTuple):
    """A signed request and what it is to be verified with."""

    token: str
    body: bytes
    event_id: str
    event_type: str
    key: Any


def verify(requests: Iterable[Signed], algorithm: str, audience: str) -> None:
    """Verify each signature and what it covers, and decode the body. Raises when anything is not as it must be."""
    for request in requests:
        claims = jwt.decode(
            request.token, request.key, algorithms=[algorithm], audience=audience, options={"require": CLAIMS}
        )
        if (
            claims["jti"] != request.event_id
            or claims["type"] != request.event_type
            or claims["body_sha256"] != hashlib.sha256(request.body).hexdigest()
        ):
            raise ValueError(f"{request.event_id}: the token is another request's")
        json.loads(request.body)


def diffuse(folder: str, dtype: str, device: str, threads: int) -> None:
    """Serve batches of a pipeline until standard input ends."""
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline: Any = DiffusionPipeline.from_pretrained(
        folder, torch_dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    print(READY, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        images: list[Any] = []
        began, cpu_began = time.perf_counter(), time.process_time()
        for _ in range(asked["batches"]):
            images = pipeline(
                asked["prompts"],
                width=asked["width"],
                height=asked["height"],
                num_inference_steps=asked["steps"],
                guidance_scale=asked["guidance"],
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in asked["seeds"]],
            ).images
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        hashes = [hashlib.sha256(image.convert("RGB").tobytes()).hexdigest() for image in images]
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "sha256": hashes}), flush=True)


# The values, as large as easel's were when this was frozen.
ACCEPTED, HELD, JOB, REQUEST, ACCOUNT, OFFSETS = (b"x" * size for size in (134, 326, 490, 717, 193, 116))
STARTED, PROGRESS, DONE, SUCCEEDED, SETTLED = (b"x" * size for size in (170, 118, 560, 720, 326))
PICTURE, MANIFEST = b"x" * 900, b"x" * 900
TERMINAL = b"easel.generation.succeeded.v1"
PROGRESS_MESSAGES, MOST_AT_ONCE, PUTS_AT_ONCE = 2, 500, 16

# Topic, value, key, headers, partition.
Message = tuple[str, bytes, "bytes | None", list[tuple[str, bytes]], int]


def headers(kind: bytes, name: bytes, source: bytes = b"easel") -> list[tuple[str, bytes]]:
    """As many and as large as those of an event."""
    return [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"01a1fde6-512d-5712-8345-c8c2e66ba6d5"),
        ("ce_type", kind),
        ("ce_source", source),
        ("ce_subject", name),
        ("ce_time", b"2026-11-21T11:38:12.141+00:00"),
    ]


def tuned(plan: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What each client is given: the client's own back-off of 100 ms would make the tail of the latency."""
    return {"bootstrap_servers": plan["bootstrap"], "retry_backoff_ms": 5, **more}


async def reader(plan: dict[str, Any], topics: dict[str, int], **more: Any) -> Any:
    """A consumer of all partitions of ``topics`` (name, count), from now on."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    consumer = AIOKafkaConsumer(**tuned(plan, isolation_level="read_committed", **more))
    await consumer.start()
    found = [TopicPartition(f"{plan['prefix']}.{name}", number) for name in topics for number in range(topics[name])]
    consumer.assign(found)
    for tp, end in (await consumer.end_offsets(found)).items():
        consumer.seek(tp, end)
    return consumer


async def writer(plan: dict[str, Any], **more: Any) -> Any:
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(**tuned(plan, max_batch_size=512 * 1024, **more))
    await producer.start()
    return producer


async def send(producer: Any, prefix: str, messages: Iterable[Message]) -> list[Any]:
    """The futures of their acks."""
    return [
        await producer.send(f"{prefix}.{topic}", value, key=key, headers=heads, partition=partition)
        for topic, value, key, heads, partition in messages
    ]


async def admit(plan: dict[str, Any]) -> None:
    """requests, outcomes -> results, usage, jobs, ledger and offsets, each batch of a partition one transaction."""
    count = plan["partitions"]
    consumer = await reader(plan, {"requests": count, "outcomes": count})
    waiting: list[list[Any]] = [[] for _ in range(count)]
    arrived = [asyncio.Event() for _ in range(count)]
    serving = [asyncio.create_task(serve(plan, number, waiting[number], arrived[number])) for number in range(count)]
    print(READY, flush=True)
    while not any(task.done() for task in serving):
        for tp, records in (await consumer.getmany(timeout_ms=500)).items():
            waiting[tp.partition] += records
            arrived[tp.partition].set()
    await asyncio.gather(*serving)


async def serve(plan: dict[str, Any], number: int, waiting: list[Any], arrived: asyncio.Event) -> None:
    from aiokafka import TopicPartition

    prefix = plan["prefix"]
    producer = await writer(plan, transactional_id=f"{prefix}-{number}", transaction_timeout_ms=6000)
    while True:
        if not waiting:
            arrived.clear()
            await arrived.wait()
        batch = waiting[:MOST_AT_ONCE]
        del waiting[:MOST_AT_ONCE]
        messages: list[Message] = []
        touched: dict[bytes, bytes] = {b"__offsets": OFFSETS}
        offsets: dict[Any, int] = {}
        for record in batch:
            given = dict(record.headers)
            kind, name, tenant = given["ce_type"], given["ce_id"], record.key
            offsets[TopicPartition(record.topic, number)] = record.offset + 1
            if record.topic.endswith(".requests"):
                job = headers(b"easel.job.assigned.v1", name, b"%s/%d" % (tenant, number))
                messages += [
                    ("results", ACCEPTED, tenant, headers(b"easel.generation.accepted.v1", name), number),
                    ("usage", HELD, tenant, headers(b"easel.usage.held.v1", name), number),
                    ("jobs.default", JOB, None, job, (number + record.offset) % plan["jobs_partitions"]),
                ]
            else:
                name = given["ce_subject"]
            if kind == b"easel.job.succeeded.v1":
                messages += [
                    ("results", SUCCEEDED, tenant, headers(TERMINAL, name), number),
                    ("usage", SETTLED, tenant, headers(b"easel.usage.settled.v1", name), number),
                ]
            if kind != b"easel.job.started.v1":
                touched[b"account/" + tenant] = ACCOUNT
            touched[b"request/" + name] = REQUEST
        messages += [("ledger", value, key, [], number) for key, value in touched.items()]
        await producer.begin_transaction()
        # Awaited before the offsets are sent: beside them, each produce request waits for the coordinator's lock.
        await asyncio.gather(*await send(producer, prefix, messages))
        await producer.send_offsets_to_transaction(offsets, f"{prefix}.admission")
        await producer.commit_transaction()


async def work(plan: dict[str, Any]) -> None:
    """jobs -> started, progress, the store, succeeded. Jobs that arrive together go on together."""
    group = {"group_id": f"{plan['prefix']}.generation", "auto_commit_interval_ms": 200}
    consumer = await reader(plan, {"jobs.default": plan["jobs_partitions"]}, **group)
    producer = await writer(plan, enable_idempotence=True)
    keep = store(plan["store"]) if plan["store"] else None
    tasks: set[asyncio.Task[None]] = set()
    print(READY, flush=True)
    while True:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            tasks.add(task := asyncio.create_task(run(plan, producer, keep, [dict(one.headers) for one in records])))
            task.add_done_callback(tasks.discard)


async def run(plan: dict[str, Any], producer: Any, keep: Any, jobs: list[dict[str, bytes]]) -> None:
    prefix = plan["prefix"]

    def said(topic: str, value: bytes, kind: bytes) -> Iterable[Message]:
        for job in jobs:
            tenant, _, home = job["ce_source"].partition(b"/")
            yield topic, value, tenant, headers(kind, job["ce_subject"]), int(home)

    await asyncio.gather(*await send(producer, prefix, said("outcomes", STARTED, b"easel.job.started.v1")))
    for _ in range(PROGRESS_MESSAGES):
        await send(producer, prefix, said("progress", PROGRESS, b"easel.generation.step.v1"))
    if keep is not None:
        await asyncio.gather(*(keep(job["ce_subject"].decode()) for job in jobs))
    await asyncio.gather(*await send(producer, prefix, said("outcomes", DONE, b"easel.job.succeeded.v1")))


def store(settings: dict[str, Any]) -> Any:
    """What stores a picture and then its manifest, each under a name of its own."""
    from minio import Minio

    client = Minio(settings["endpoint"], settings["access_key"], settings["secret_key"], secure=False)
    threads = ThreadPoolExecutor(PUTS_AT_ONCE)

    async def keep(name: str) -> None:
        for key, data in ((f"bare/{name}/0.png", PICTURE), (f"bare/{name}/manifest.json", MANIFEST)):
            await asyncio.get_running_loop().run_in_executor(
                threads, client.put_object, settings["bucket"], key, io.BytesIO(data), len(data)
            )

    return keep


async def drive(plan: dict[str, Any]) -> None:
    """Publish prepared requests, a line of JSON each, and wait until the last of them has ended."""
    consumer = await reader(plan, {"results": plan["partitions"]})
    producer = await writer(plan, enable_idempotence=True)
    loop = asyncio.get_running_loop()
    print(READY, flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        requests = [json.loads(one) for one in open(asked["file"])]  # noqa: ASYNC230, PTH123, SIM115
        sent: dict[bytes, float] = {}
        latencies: list[float] = []
        publishing = asyncio.create_task(publish(producer, plan["prefix"], requests, asked["per_s"], sent))
        began = time.perf_counter()
        while len(latencies) < len(requests):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                now = time.perf_counter()
                for record in records:
                    given = dict(record.headers)
                    if given["ce_type"] == TERMINAL and given["ce_subject"] in sent:
                        latencies.append((now - sent[given["ce_subject"]]) * 1000)
        seconds = time.perf_counter() - began
        await publishing
        print(json.dumps({"seconds": seconds, "latencies_ms": latencies}), flush=True)


async def publish(
    producer: Any, prefix: str, requests: list[dict[str, Any]], per_s: float | None, sent: dict[bytes, float]
) -> None:
    began = time.perf_counter()
    for number, request in enumerate(requests):
        if per_s is not None:
            await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
        heads = [(name, value.encode()) for name, value in request["headers"]]
        sent[request["id"].encode()] = time.perf_counter()
        message = ("requests", request["value"].encode(), request["key"].encode(), heads, request["partition"])
        await send(producer, prefix, [message])


if __name__ == "__main__":
    if sys.argv[1] == "stream":
        role = {"admit": admit, "work": work, "drive": drive}[sys.argv[2]]
        asyncio.run(role(json.loads(Path(sys.argv[3]).read_text())))
    else:
        diffuse(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

"""A worker with a null engine on a real broker and a real store: jobs in, pictures and outcomes out."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from PIL import Image

from schemas.connection import KafkaSettings
from schemas.envelope import Envelope
from schemas.errors import Code
from schemas.events import DeadLetter, GenerationStarted, GenerationStep
from schemas.jobs import JobFailed, JobStarted, JobSucceeded
from schemas.outputs import Manifest, manifest_key
from tests.consumer.generation.harness import Installation, WorkerProcess, job, succeeded
from transport.kafka import client_options
from transport.objects import ObjectStore
from transport.records import Outgoing

Start = Callable[..., WorkerProcess]


async def test_jobs_become_pictures_a_manifest_and_outcomes(
    installation: Installation, worker: Start, objects: ObjectStore
) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.01").ready()
    jobs = [job("acme", images=3, seed=5), job("globex", format="jpeg"), job("initech", format="webp", prompt="一只猫")]
    await installation.assign(*jobs)
    ends = {end.request_id: end for end in succeeded(await installation.ends(3))}

    for assigned in jobs:
        end = ends[assigned.request_id]
        assert end.attempt == 1
        assert end.weights_revision == "null-1"
        assert [output.index for output in end.outputs] == list(range(assigned.parameters.images))
        for output in end.outputs:
            data = await objects.get(output.key)
            assert hashlib.sha256(data).hexdigest() == output.sha256
            assert len(data) == output.bytes
            picture = Image.open(io.BytesIO(data))
            picture.load()
            assert picture.size == (output.width, output.height) == (64, 64)
            assert Image.MIME[picture.format or ""] == output.media_type
            told = picture.info["easel"] if picture.format == "PNG" else picture.getexif()[0x010E]
            facts = json.loads(told)
            assert facts["request_id"] == assigned.request_id
            assert facts["seed"] == output.seed == assigned.parameters.seed + output.index
            assert facts["weights_revision"] == "null-1"
            assert facts["parameters"]["prompt"] == assigned.parameters.prompt
        manifest = Manifest.model_validate_json(await objects.get(manifest_key(assigned.tenant, assigned.request_id)))
        assert manifest.outputs == end.outputs
        assert manifest.asked == assigned.parameters.images
        assert end.manifest == manifest_key(assigned.tenant, assigned.request_id)

    order = [type(event) for event in await installation.outcomes() if event.tenant == "acme"]
    assert order == [JobStarted, JobSucceeded]
    assert running.metric("easel_images_total") == 5
    assert "一只猫" not in running.log.read_text()


async def test_progress_is_told(installation: Installation, worker: Start) -> None:
    await worker(EASEL_NULL_STEP_S="0.1").ready()
    assigned = job(steps=10)
    await installation.assign(assigned)
    await installation.ends(1)
    told = [
        Envelope.read(record.headers, record.value)
        for record in await installation.records(installation.topics.progress)
    ]
    assert told[0].type == GenerationStarted.TYPE
    steps = [GenerationStep.model_validate_json(one.data) for one in told if one.type == GenerationStep.TYPE]
    assert [one.step for one in steps] == sorted({one.step for one in steps})
    assert steps[-1].step == steps[-1].steps == 10
    # Ten steps take a second, of which at most four may be told, and the first and last.
    assert 3 <= len(steps) <= 6


async def test_a_job_larger_than_the_budget_is_split_and_put_together(
    installation: Installation, worker: Start
) -> None:
    running = await worker().ready()
    await installation.assign(job(images=10))
    (end,) = succeeded(await installation.ends(1))
    assert [output.index for output in end.outputs] == list(range(10))
    assert len({output.sha256 for output in end.outputs}) == 10
    assert running.metric("easel_generation_batches_total") == 2


async def test_jobs_of_one_kind_run_together(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.1").ready()
    await installation.assign(job(seed=1), *(job(seed=seed) for seed in range(2, 10)), job(seed=1, steps=5))
    await installation.ends(10)
    # The first may have left alone, before the others had come; the other kind never shares.
    assert 3 <= running.metric("easel_generation_batches_total") <= 5


async def test_a_manifest_that_is_there_is_reported_without_the_engine(
    installation: Installation, worker: Start
) -> None:
    running = await worker().ready()
    first = job(images=2)
    await installation.assign(first)
    (before,) = succeeded(await installation.ends(1))
    await installation.assign(job(request_id=first.request_id, attempt=2, images=2))
    ends = await installation.until(JobSucceeded, 2)
    again = ends[1]
    assert isinstance(again, JobSucceeded)
    assert again.attempt == 2
    assert again.outputs == before.outputs
    assert running.metric("easel_generation_batches_total") == 1


async def test_an_outcome_that_the_broker_does_not_take_becomes_a_failure(
    installation: Installation, worker: Start, kafka: KafkaSettings
) -> None:
    await worker().ready()
    admin = AIOKafkaAdminClient(**client_options(kafka))
    await admin.start()
    limit = ConfigResource(ConfigResourceType.TOPIC, installation.topics.outcomes, {"max.message.bytes": "1500"})
    await admin.alter_configs([limit])
    await admin.close()
    large, small = job(images=8), job(seed=8)
    await installation.assign(large, small)
    ends = {end.request_id: end for end in await installation.ends(2)}
    failed = ends[large.request_id]
    assert isinstance(failed, JobFailed), failed
    assert (failed.error.code, failed.retryable) == (Code.INTERNAL_ERROR, False)
    assert isinstance(ends[small.request_id], JobSucceeded)


async def test_a_malformed_job_becomes_a_dead_letter_and_stops_nobody(
    installation: Installation, worker: Start
) -> None:
    await worker().ready()
    whole = installation.record(job(), 0)
    headers, data = dict(whole.headers), json.loads(whole.value or b"")

    def damaged(*, without: str = "", value: bytes | None = whole.value, **changed: bytes) -> Outgoing:
        kept = {name: content for name, content in {**headers, **changed}.items() if name != without}
        return Outgoing(whole.topic, value, None, tuple(kept.items()), 0)

    bad = {
        Code.ENVELOPE_INVALID: damaged(without="ce_type"),
        Code.UNSUPPORTED_TYPE: damaged(ce_type=b"easel.job.assigned.v9"),
        Code.INVALID_REQUEST: damaged(value=(whole.value or b"")[:-1]),
        Code.ID_INVALID: damaged(value=json.dumps({**data, "request_id": "../../x"}).encode()),
    }
    elsewhere = damaged(value=json.dumps({**data, "tenant": "../globex"}).encode())
    await installation.write(*bad.values(), elsewhere)
    good = job()
    await installation.assign(good, partition=0)
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == good.request_id
    letters = [DeadLetter.model_validate_json(one.value or b"") for one in await installation.dead_letters(5)]
    assert [(one.stage, one.topic, one.partition) for one in letters] == [("generation", whole.topic, 0)] * 5
    told = {one.offset: one.cause.code for one in letters}
    assert [told[offset] for offset in range(5)] == [*bad, Code.INVALID_REQUEST]
    assert base64.b64decode(letters[0].value_base64 or "") in {one.value for one in (*bad.values(), elsewhere)}


async def test_an_attempt_that_was_called_off_is_dropped_in_silence(installation: Installation, worker: Start) -> None:
    called_off, newer = job(attempt=1), job()
    await installation.note(called_off, min_attempt=2)
    await installation.assign(called_off, newer, partition=0)
    running = await worker().ready()
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == newer.request_id
    assert {event.request_id for event in await installation.outcomes()} == {newer.request_id}
    assert running.metric("easel_generation_jobs_total") == 2


async def test_an_attempt_that_is_called_off_while_it_runs_stops(installation: Installation, worker: Start) -> None:
    running = await worker(EASEL_NULL_STEP_S="0.5").ready()
    slow = job(steps=200)
    await installation.assign(slow)
    await installation.until(JobStarted)
    await installation.note(slow, min_attempt=2)
    following = job(steps=1)
    await installation.assign(following)
    (end,) = succeeded(await installation.ends(1))
    assert end.request_id == following.request_id
    assert running.metric("easel_engine_restarts_total") == 0


async def test_a_model_that_this_worker_has_not_is_somebody_elses(installation: Installation, worker: Start) -> None:
    await worker().ready()
    await installation.assign(job(model="unheard-of"))
    (end,) = await installation.ends(1)
    assert isinstance(end, JobFailed)
    assert end.error.code is Code.MODEL_UNAVAILABLE
    assert end.retryable

"""Signed requests as admission reads them: several tenants of one partition, each with a key and limits of its own."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from consumer.admission.rules import Rules
from ops.bench.bare import Signed
from schemas.catalog import Catalog, Defaults, ModelCard
from schemas.envelope import Envelope
from schemas.ids import new_id
from schemas.requests import GenerationRequest
from schemas.signing import Algorithm, KeyEntry, Signer
from schemas.tenants import Directory, Limits, Tenant
from schemas.topics import Topics
from transport.partitioning import partition_of
from transport.records import Record

__all__ = ["INSTALLATION", "Requests", "make_requests"]

INSTALLATION = "easel"
_MODEL = "bench"
_PARTITION, _PARTITIONS, _JOBS_PARTITIONS = 0, 12, 48
_TENANTS = 8


@dataclass(frozen=True, slots=True)
class Requests:
    """The same signed requests twice: as records of the broker, and as the bare loop takes them."""

    rules: Rules
    records: Sequence[Record]
    signed: Sequence[Signed]


def make_requests(algorithm: Algorithm, number: int) -> Requests:
    """``number`` valid requests, of the tenants in turn; all of them may be accepted and leave for the fleet."""
    names = _neighbours(_TENANTS)
    keys = {name: _key_pair(algorithm) for name in names}
    signers = {name: Signer(name, algorithm, private, name, INSTALLATION) for name, (private, _) in keys.items()}
    topics = Topics()
    records: list[Record] = []
    signed: list[Signed] = []
    for offset in range(number):
        name, event_id, now_s = names[offset % _TENANTS], new_id(), time.time()
        body = _body(offset)
        token = signers[name].sign(
            tenant=name, event_type=GenerationRequest.TYPE, event_id=event_id, body=body, now_s=now_s
        )
        envelope = Envelope(id=event_id, type=GenerationRequest.TYPE, source="bench", data=body, signature=token)
        key = name.encode()
        records.append(
            Record(topics.requests, _PARTITION, offset, int(now_s * 1000), key, body, tuple(envelope.headers()))
        )
        signed.append(Signed(token, body, event_id, GenerationRequest.TYPE, keys[name][1]))
    rules = Rules(
        installation=INSTALLATION,
        topics=topics,
        partition=_PARTITION,
        partitions=_PARTITIONS,
        jobs_partitions=_JOBS_PARTITIONS,
        # Every request leaves at once: each is then all that admission ever writes of an accepted one.
        window_jobs=number,
        catalog=_catalog(),
        directory=Directory(
            version=1,
            tenants={name: _tenant(name) for name in names},
            keys={
                name: KeyEntry(name, algorithm, name, frozenset({name}), public) for name, (_, public) in keys.items()
            },
            api_keys={},
        ),
    )
    return Requests(rules, records, signed)


def _neighbours(number: int) -> list[str]:
    names = (f"tenant-{index}" for index in count())
    return list(islice((name for name in names if partition_of(name.encode(), _PARTITIONS) == _PARTITION), number))


def _key_pair(algorithm: Algorithm) -> tuple[Any, Any]:
    """A key to sign with and the one to verify with."""
    match algorithm:
        case "HS256":
            secret = secrets.token_bytes(32)
            return secret, secret
        case "ES256":
            curve_key = ec.generate_private_key(ec.SECP256R1())
            return curve_key, curve_key.public_key()
        case "EdDSA":
            edwards_key = ed25519.Ed25519PrivateKey.generate()
            return edwards_key, edwards_key.public_key()
    raise ValueError(f"there is no bench for {algorithm}")


def _tenant(name: str) -> Tenant:
    """Every limit is set, so that each is looked at, and none is reached."""
    limits = Limits(
        requests_per_minute=1_000_000,
        units_per_day=Decimal(10**11),
        units_per_month=Decimal(10**11),
        queued=1_000_000,
        images=10,
        pixels=2**22,
        steps=50,
    )
    return Tenant(id=name, models=[_MODEL], limits=limits)


def _catalog() -> Catalog:
    # No engine ever loads it: what admission needs of a model is its limits and its price.
    card = ModelCard(pipeline=Path(), defaults=Defaults(width=1024, height=1024, steps=9, guidance=0.0))
    return Catalog(models={_MODEL: card})


def _body(number: int) -> bytes:
    content = {
        "model": _MODEL,
        "prompt": f"an old lighthouse on a cliff above a calm sea at dawn, oil on canvas, number {number}",
        "negative_prompt": "people, text, watermark",
        "images": 1,
        "width": 1024,
        "height": 768,
        "seed": number,
        "metadata": {"post": str(number), "section": "travel"},
    }
    return json.dumps(content).encode()

"""The bare loops that easel is measured against: the libraries alone, used well, with nothing of easel in them.

Frozen: a figure is a ratio to these loops, so a change here makes all older figures incomparable. Results name the
SHA-256 of this file.

Run as a program, it is the bare diffusers loop: ``bare.py FOLDER DTYPE DEVICE THREADS``. It prints a line of JSON when
the pipeline is loaded, then reads lines of JSON (``width``, ``height``, ``steps``, ``guidance``, ``prompts``,
``seeds``, ``batches``), makes that batch so many times, and answers each with ``{"seconds", "cpu_seconds", "sha256"}``:
the time and the processor time of all batches, and the hash of the RGB bytes of each picture of the last one.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jwt

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
    print(json.dumps({"ready": True}), flush=True)
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


if __name__ == "__main__":
    diffuse(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

"""The service that people usually write, in its best form: FastAPI and uvicorn before one diffusers pipeline.

Frozen, as ``bare.py`` is: a figure is a ratio to it. It imports nothing of easel. Its best form means: every call of
the pipeline comes from one thread of its own, for torch work that hops between a server's threads takes twice as long;
pictures are encoded on other threads while the next one is made; nothing is logged.

Run as a program: ``usual_service.py FOLDER DTYPE DEVICE THREADS PORT``. ``POST /generate`` answers with a PNG,
``GET /health/ready`` once the pipeline is loaded.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel


class Asked(BaseModel):
    """One picture."""

    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: float


def load(folder: str, dtype: str, device: str, threads: int) -> Any:
    """The pipeline, ready to run."""
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline: Any = DiffusionPipeline.from_pretrained(
        folder, torch_dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, asked: Asked) -> Any:
    """The picture that was asked for."""
    import torch

    return pipeline(
        asked.prompt,
        width=asked.width,
        height=asked.height,
        num_inference_steps=asked.steps,
        guidance_scale=asked.guidance,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
    ).images[0]


def encode(image: Any) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def make_app(folder: str, dtype: str, device: str, threads: int) -> FastAPI:
    """The service."""
    torch_thread = ThreadPoolExecutor(1, thread_name_prefix="torch")
    pipelines: list[Any] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        pipelines.append(await loop.run_in_executor(torch_thread, load, folder, dtype, device, threads))
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/generate")
    async def generate(asked: Asked) -> Response:
        loop = asyncio.get_running_loop()
        image = await loop.run_in_executor(torch_thread, draw, pipelines[0], asked)
        return Response(await loop.run_in_executor(None, encode, image), media_type="image/png")

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])),
        host="127.0.0.1",
        port=int(sys.argv[5]),
        log_level="warning",
        access_log=False,
    )

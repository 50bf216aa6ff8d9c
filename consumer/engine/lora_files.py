"""LoRA files: what is in them now, and how a pipeline comes to have one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from consumer.engine.contract import EngineError
from consumer.engine.loading import is_out_of_memory
from schemas.errors import Code

__all__ = ["forget", "load_onto", "read", "seen_of", "several_at_once"]

_COPY = "adapter.safetensors"


def seen_of(path: Path) -> tuple[int, int, int] | None:
    """By which a change is noticed; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read(path: Path) -> bytes:
    """Raises ``EngineError(model_unavailable)`` for what is missing or not safetensors."""
    if path.suffix != ".safetensors":
        raise _unusable(path, "it is not a .safetensors file; a pickle would run whatever its author put into it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, f"it can't be read: {error.strerror}") from None


def load_onto(pipeline: Any, path: Path, content: bytes, label: str) -> None:
    """Have the pipeline know the file's content as ``label``.

    Raises ``EngineError(model_unavailable)`` for what does not fit this model, which then knows nothing of it.
    """
    try:
        with several_at_once(), TemporaryDirectory(prefix="easel-adapter-") as folder:
            # A file, for its header says how strong it is (alpha). Of our own, for tensors stay mapped to their
            # file: when another writes to that, the process is killed (SIGBUS).
            (Path(folder) / _COPY).write_bytes(content)
            pipeline.load_lora_weights(
                folder, weight_name=_COPY, adapter_name=label, use_safetensors=True, local_files_only=True
            )
    except Exception as error:
        forget(pipeline, label)
        if is_out_of_memory(error):
            raise
        raise _unusable(path, f"it does not fit this model ({type(error).__name__})") from error
    if label not in _labels(pipeline):
        raise _unusable(path, "none of its tensors are of this model")


@contextmanager
def several_at_once() -> Iterator[None]:
    """Without peft's warnings that there are others: several are what this is for."""
    with warnings.catch_warnings():
        for message in ("Already found a `peft_config`", "Adapter .* was active which is now deleted"):
            warnings.filterwarnings("ignore", message=message)
        yield


def forget(pipeline: Any, label: str) -> None:
    """Take it off again, also what a failed load left behind."""
    if label in _labels(pipeline):
        with several_at_once():
            pipeline.delete_adapters(label)


def _labels(pipeline: Any) -> set[str]:
    return {label for labels in pipeline.get_list_adapters().values() for label in labels}


def _unusable(path: Path, why: str) -> EngineError:
    return EngineError(Code.MODEL_UNAVAILABLE, f"the adapter {path.name!r} can't be used: {why}")

"""The files of a model: only safetensors, and a revision that names their content."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from consumer.engine.contract import EngineError
from schemas.catalog import HubPipeline, ModelCard, Safety
from schemas.errors import Code

__all__ = [
    "check_pipeline",
    "checker_folder",
    "checker_revision",
    "expected_bytes",
    "pipeline_folder",
    "unusable_files",
    "weights_revision",
]

_PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth"})
_HASHING_THREADS = 4
_HEADER = struct.Struct("<Q")


def check_pipeline(folder: Path) -> list[Path]:
    """The safetensors files of a diffusers pipeline folder, in the order of their names.

    Raises ``EngineError(model_unavailable)``: no such folder, not a pipeline, no weights, or a part whose weights are
    only there as a pickle. Loading a pickle runs whatever code its author put into it.
    """
    if not (folder / "model_index.json").is_file():
        raise _unusable(folder, "is not a diffusers pipeline folder: it holds no model_index.json")
    return _safe_weights(folder)


def _safe_weights(folder: Path) -> list[Path]:
    weights = sorted(folder.rglob("*.safetensors"))
    covered = {path.parent for path in weights}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PICKLES and path.parent not in covered:
            raise _unusable(
                folder,
                f"{path.relative_to(folder)} is a pickle and there are no safetensors beside it: "
                "convert it with save_pretrained(..., safe_serialization=True)",
            )
    if not weights:
        raise _unusable(folder, "holds no .safetensors file")
    return weights


def pipeline_folder(card: ModelCard) -> Path:
    """Where a model's files are on this machine.

    Raises ``EngineError(model_unavailable)`` for one of the hub that has not been fetched: workers never do.
    """
    return _here(card.pipeline, "model_index.json")


def checker_folder(safety: Safety) -> Path:
    """Where the files of a safety checker are on this machine.

    Raises ``EngineError(model_unavailable)`` as ``check_pipeline`` and ``pipeline_folder`` do.
    """
    folder = _here(safety.checker, "config.json")
    if not (folder / "config.json").is_file():
        raise _unusable(folder, "is not a safety checker's folder: it holds no config.json")
    _safe_weights(folder)
    return folder


def _here(source: Path | HubPipeline, index: str) -> Path:
    if isinstance(source, Path):
        return source
    # Not everybody who reads a catalogue has the hub's client.
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{source.hub.replace('/', '--')}" / "snapshots" / source.revision
    if not (folder / index).is_file():
        raise EngineError(
            Code.MODEL_UNAVAILABLE,
            f"{source.hub} at {source.revision[:12]} is not in the hub's cache here: `easel model warm` fetches it",
        )
    return folder


def unusable_files(card: ModelCard) -> Iterator[str]:
    """What stands in the way of loading a model here, one line a file; nothing when all are there."""
    if card.engine == "null":
        return
    try:
        for path in check_pipeline(pipeline_folder(card)):
            if not _is_whole(path):
                yield f"{path.parent.name}/{path.name} of the pipeline is not a whole safetensors file: copy it again"
    except EngineError as error:
        yield error.message
    if card.safety is not None:
        try:
            checker_folder(card.safety)
        except EngineError as error:
            yield error.message
    files = {f"the adapter {name!r}": adapter.file for name, adapter in card.adapters.items()}
    if card.overlay is not None:
        files["the overlay"] = card.overlay.file
    for what, path in files.items():
        if path.suffix != ".safetensors":
            yield f"{what} is {path.name}: only .safetensors files are loaded, convert it"
        elif not path.is_file():
            yield f"{what} is not there: {path}"
        elif not _is_whole(path):
            yield f"{what} is not a whole safetensors file, copy it again: {path}"


def expected_bytes(card: ModelCard) -> int:
    """What the weights of a model take in memory, by the size of its files; 0 for what has none.

    A guess to make room by: files may hold numbers of another width than ``dtype``, or the same weights twice.
    """
    if card.engine == "null":
        return 0
    try:
        return sum(path.stat().st_size for path in check_pipeline(pipeline_folder(card)))
    except (EngineError, OSError):
        # Loading it will say so.
        return 0


def weights_revision(folder: Path, overlay: Path | None = None) -> str:
    """16 hex digits of a SHA-256 over the names and contents of the safetensors files, and of what is laid over them.

    Raises ``EngineError(model_unavailable)``.
    """
    files = check_pipeline(folder)
    if overlay is not None and not overlay.is_file():
        raise EngineError(Code.MODEL_UNAVAILABLE, f"the overlay {overlay.name!r} can't be used: there is no such file")
    whole = _digest_of(folder, files)
    if overlay is not None:
        # Its content, not its name: the same weights under another name make the same pictures.
        whole.update(b"overlay\0" + _digest(overlay))
    return whole.hexdigest()[:16]


def checker_revision(folder: Path) -> str:
    """8 hex digits that name the weights of a safety checker. Raises ``EngineError(model_unavailable)``."""
    return _digest_of(folder, _safe_weights(folder)).hexdigest()[:8]


def _digest_of(folder: Path, files: list[Path]) -> hashlib._Hash:
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        digests = list(threads.map(_digest, files))
    whole = hashlib.sha256()
    for path, digest in zip(files, digests, strict=True):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0" + digest)
    return whole


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says: the length of the header in 8 bytes, the header, which
    is JSON, and the tensors. A copy that was broken off is not."""
    try:
        with path.open("rb") as file:
            (length,) = _HEADER.unpack(file.read(_HEADER.size))
            size = path.stat().st_size
            if length > size:
                return False
            header: dict[str, Any] = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return bool(size == _HEADER.size + length + max(ends, default=0))
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError):
        return False


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _unusable(folder: Path, why: str) -> EngineError:
    return EngineError(Code.MODEL_UNAVAILABLE, f"the folder {folder.name!r} can't be used: {why}")

"""The files of a model: only safetensors, and a revision that names their content."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from consumer.engine.contract import EngineError
from schemas.errors import Code

__all__ = ["check_pipeline", "weights_revision"]

_PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth"})
_HASHING_THREADS = 4


def check_pipeline(folder: Path) -> list[Path]:
    """The safetensors files of a diffusers pipeline folder, in the order of their names.

    Raises ``EngineError(model_unavailable)``: no such folder, not a pipeline, no weights, or a part whose weights are
    only there as a pickle. Loading a pickle runs whatever code its author put into it.
    """
    if not (folder / "model_index.json").is_file():
        raise _unusable(folder, "is not a diffusers pipeline folder: it holds no model_index.json")
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


def weights_revision(folder: Path, overlay: Path | None = None) -> str:
    """16 hex digits of a SHA-256 over the names and contents of the safetensors files, and of what is laid over them.

    Raises ``EngineError(model_unavailable)``.
    """
    files = check_pipeline(folder)
    if overlay is not None and not overlay.is_file():
        raise EngineError(Code.MODEL_UNAVAILABLE, f"the overlay {overlay.name!r} can't be used: there is no such file")
    with ThreadPoolExecutor(_HASHING_THREADS) as threads:
        digests = list(threads.map(_digest, files))
    whole = hashlib.sha256()
    for path, digest in zip(files, digests, strict=True):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0" + digest)
    if overlay is not None:
        # Its content, not its name: the same weights under another name make the same pictures.
        whole.update(b"overlay\0" + _digest(overlay))
    return whole.hexdigest()[:16]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _unusable(folder: Path, why: str) -> EngineError:
    return EngineError(Code.MODEL_UNAVAILABLE, f"the pipeline {folder.name!r} can't be used: {why}")

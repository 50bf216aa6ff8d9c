"""LoRA adapters on a loaded pipeline: each request names its own; the last few stay in memory.

A file that has changed is taken up before the next batch, never in one. One that can't be read leaves the version that
was loaded before in use, and says so.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from consumer.engine.contract import EngineError
from consumer.engine.loading import is_out_of_memory
from schemas.errors import Code

__all__ = ["Adapters"]

_COPY = "adapter.safetensors"


@dataclass(frozen=True, slots=True)
class _Loaded:
    """``label``: what the pipeline knows this version of the file as. ``seen``: by which a change is noticed."""

    label: str
    seen: tuple[int, int, int] | None
    sha256: str


class Adapters:
    """The adapters of one pipeline. ``files``: those that the catalogue allows, by name; the ``kept`` used last stay
    loaded."""

    def __init__(self, pipeline: Any, files: Mapping[str, Path], kept: int) -> None:
        self._pipeline = pipeline
        self._files = files
        self._kept = kept
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._versions = 0
        self._refused: dict[str, tuple[int, int, int] | None] = {}

    @property
    def touch_text(self) -> bool:
        """Whether some that are loaded change the text encoders."""
        if not self._loaded:
            return False
        return any(part.startswith("text_encoder") for part, on in self._pipeline.get_list_adapters().items() if on)

    def use(self, wanted: Sequence[tuple[str, float]]) -> str:
        """Have exactly these in force, with their scales; a revision of their files (empty for none).

        Raises ``EngineError(model_unavailable)`` for one that can't be loaded and never was.
        """
        if not wanted:
            if self._loaded:
                self._pipeline.disable_lora()
            return ""
        found = [(self._fresh(name), scale) for name, scale in wanted]
        self._pipeline.enable_lora()
        self._pipeline.set_adapters([one.label for one, _ in found], [scale for _, scale in found])
        while len(self._loaded) > max(self._kept, len(wanted)):
            _, dropped = self._loaded.popitem(last=False)
            self._pipeline.delete_adapters(dropped.label)
        whole = "\0".join(f"{one.sha256}:{scale}" for one, scale in found)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def _fresh(self, name: str) -> _Loaded:
        """The adapter as its file is now, or as it was when that can't be used."""
        path = self._files.get(name)
        if path is None:
            raise EngineError(Code.MODEL_UNAVAILABLE, f"this worker's catalogue has no adapter {name!r}")
        known, seen = self._loaded.get(name), _seen(path)
        unchanged = known is not None and known.seen == seen
        refused = known is not None and name in self._refused and self._refused[name] == seen
        if not unchanged and not refused:
            try:
                known = self._load(name, path, seen, known)
            except EngineError as error:
                if known is None:
                    raise
                self._refused[name] = seen
                print(f"{error.message}; the version before is still in use", file=sys.stderr, flush=True)
        assert known is not None  # noqa: S101 - what was never loaded has raised
        self._loaded[name] = known
        self._loaded.move_to_end(name)
        return known

    def _load(self, name: str, path: Path, seen: tuple[int, int, int] | None, before: _Loaded | None) -> _Loaded:
        content = _read(path)
        sha256 = hashlib.sha256(content).hexdigest()
        if before is not None and sha256 == before.sha256:
            # Touched, or copied over itself.
            return replace(before, seen=seen)
        self._versions += 1
        label = f"{name.replace('.', '-')}-{self._versions}"
        try:
            with warnings.catch_warnings(), TemporaryDirectory(prefix="easel-adapter-") as folder:
                # Several at a time are what this is for.
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                # A file, for its header says how strong it is (alpha). Of our own, for tensors stay mapped to their
                # file: when another writes to that, the process is killed (SIGBUS).
                (Path(folder) / _COPY).write_bytes(content)
                self._pipeline.load_lora_weights(
                    folder, weight_name=_COPY, adapter_name=label, use_safetensors=True, local_files_only=True
                )
        except Exception as error:
            self._forget(label)
            if is_out_of_memory(error):
                raise
            raise _unusable(path, f"it does not fit this model ({type(error).__name__})") from error
        if label not in {one for labels in self._pipeline.get_list_adapters().values() for one in labels}:
            raise _unusable(path, "none of its tensors are of this model")
        if before is not None:
            self._pipeline.delete_adapters(before.label)
        self._refused.pop(name, None)
        return _Loaded(label, seen, sha256)

    def _forget(self, label: str) -> None:
        """What a failed load left behind."""
        if label in {one for labels in self._pipeline.get_list_adapters().values() for one in labels}:
            self._pipeline.delete_adapters(label)


def _seen(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> bytes:
    if path.suffix != ".safetensors":
        raise _unusable(path, "it is not a .safetensors file; a pickle would run whatever its author put into it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, f"it can't be read: {error.strerror}") from None


def _unusable(path: Path, why: str) -> EngineError:
    return EngineError(Code.MODEL_UNAVAILABLE, f"the adapter {path.name!r} can't be used: {why}")

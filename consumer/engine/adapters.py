"""LoRA adapters on a loaded pipeline: each request names its own; the last few stay in memory.

A file that has changed is taken up before the next batch, never in one. One that can't be read leaves the version that
was loaded before in use, and says so.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consumer.engine.contract import EngineError
from consumer.engine.lora_files import load_onto, read, seen_of
from consumer.engine.slots import MisfitError, Packed, Slots, pack, prepare_slots
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["Adapters", "adapters_of"]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """``label``: what the pipeline knows this version of the file as, or knew until it was ``packed`` for slots.
    ``seen``: by which a change is noticed."""

    label: str
    packed: Packed | None
    seen: tuple[int, int, int] | None
    sha256: str


class Adapters:
    """The adapters of one pipeline. ``files``: those that the catalogue allows, by name; the ``kept`` used last stay
    loaded. ``slots``: of a model that is compiled for them."""

    def __init__(self, pipeline: Any, files: Mapping[str, Path], kept: int, slots: Slots | None = None) -> None:
        self._pipeline = pipeline
        self._slots = slots
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

    @property
    def to_warm(self) -> Sequence[tuple[tuple[str, float], ...]]:
        """What is to be drawn with before the first request, so that it need not wait for the compiler."""
        readable = [name for name, path in self._files.items() if path.is_file()]
        return ([((readable[0], 1.0),)] if self._slots is not None and readable else []) + [()]

    def use(self, wanted: Sequence[tuple[str, float]]) -> str:
        """Have exactly these in force, with their scales; a revision of their files (empty for none).

        Raises ``EngineError(model_unavailable)`` for one that can't be loaded and never was.
        """
        if not wanted:
            if self._loaded or self._slots is not None:
                self._pipeline.disable_lora()
            return ""
        try:
            found = [(self._fresh(name), scale) for name, scale in wanted]
            self._put(found)
        except MisfitError as misfit:
            assert self._slots is not None  # noqa: S101 - only slots raise it
            self._leave_slots(self._slots, misfit)
            return self.use(wanted)
        while len(self._loaded) > max(self._kept, len(wanted)):
            _, dropped = self._loaded.popitem(last=False)
            if dropped.packed is None:
                self._pipeline.delete_adapters(dropped.label)
        whole = "\0".join(f"{one.sha256}:{scale}" for one, scale in found)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def _fresh(self, name: str) -> _Loaded:
        """The adapter as its file is now, or as it was when that can't be used."""
        path = self._files.get(name)
        if path is None:
            raise EngineError(Code.MODEL_UNAVAILABLE, f"this worker's catalogue has no adapter {name!r}")
        known, seen = self._loaded.get(name), seen_of(path)
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
        content = read(path)
        sha256 = hashlib.sha256(content).hexdigest()
        if before is not None and sha256 == before.sha256:
            # Touched, or copied over itself.
            return replace(before, seen=seen)
        self._versions += 1
        label = f"{name.replace('.', '-')}-{self._versions}"
        load_onto(self._pipeline, path, content, label)
        packed = None if self._slots is None else pack(self._pipeline, label)
        if before is not None and before.packed is None:
            self._pipeline.delete_adapters(before.label)
        self._refused.pop(name, None)
        return _Loaded(label, packed, seen, sha256)

    def _put(self, found: Sequence[tuple[_Loaded, float]]) -> None:
        if self._slots is not None:
            self._slots.put([(one.packed, scale) for one, scale in found if one.packed is not None])
            return
        self._pipeline.enable_lora()
        self._pipeline.set_adapters([one.label for one, _ in found], [scale for _, scale in found])

    def _leave_slots(self, slots: Slots, misfit: MisfitError) -> None:
        print(
            f"{misfit}: until this worker starts again, the model is compiled anew for each adapter and scale",
            file=sys.stderr,
            flush=True,
        )
        slots.remove()
        self._slots = None
        self._loaded.clear()


def adapters_of(pipeline: Any, card: ModelCard) -> Adapters:
    """Those of the card. To be called before the model is compiled: see ``Slots``."""
    files = {name: adapter.file for name, adapter in card.adapters.items()}
    return Adapters(pipeline, files, card.max_loaded_adapters, prepare_slots(pipeline, card))

"""A fine-tune's weights, laid over a pipeline's own: one safetensors file, and a report of what it changed.

Such files come with the prefixes of whatever wrote them, and some in the layout of the model's first release. Prefixes
are cut off; a layout that diffusers knows how to read is read by diffusers' own conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors import SafetensorError
from safetensors.torch import load_file

from consumer.engine.contract import EngineError
from schemas.errors import Code

__all__ = ["OverlayReport", "lay_over"]

_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "model.", "module.", "_orig_mod.")
_NAMED = 5


@dataclass(frozen=True, slots=True)
class OverlayReport:
    """Names of tensors, as the pipeline calls them; ``unexpected`` as the file does."""

    matched: int
    missing: tuple[str, ...]
    """The pipeline's own stay in use."""
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    """Of another shape: not used."""

    @property
    def complete(self) -> bool:
        """Whether the file and the model have exactly the same tensors."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        parts = [f"{self.matched} tensors matched"]
        for what in ("missing", "unexpected", "mismatched"):
            names: tuple[str, ...] = getattr(self, what)
            if names:
                more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:_NAMED])}{more})")
        return "; ".join(parts)


def lay_over(module: torch.nn.Module, file: Path, *, strict: bool) -> OverlayReport:
    """Copy the file's tensors over those of ``module`` that have their names and shapes; in its dtype and place.

    Raises ``EngineError(model_unavailable)``: no such file, not safetensors, nothing in it matched, or, when
    ``strict``, anything did not. The module is then as it was.
    """
    given = _read(file)
    own = module.state_dict()
    named = {_clean(name): tensor for name, tensor in given.items()}
    if named.keys() - own.keys():
        # Some names may be those of another layout; whichever reading fits better is meant.
        named = max(named, _converted(module, given), key=lambda names: len(names.keys() & own.keys()))
    fitting = {name: tensor for name, tensor in named.items() if name in own and own[name].shape == tensor.shape}
    report = OverlayReport(
        matched=len(fitting),
        missing=tuple(sorted(own.keys() - named.keys())),
        unexpected=tuple(sorted(named.keys() - own.keys())),
        mismatched=tuple(sorted(name for name in named.keys() & own.keys() if name not in fitting)),
    )
    if not fitting:
        raise _unusable(file, f"nothing in it fits this model: {report}")
    if strict and not report.complete:
        raise _unusable(file, f"it does not fit exactly, and the catalogue says strict: {report}")
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
    return report


def _read(file: Path) -> dict[str, torch.Tensor]:
    if file.suffix != ".safetensors":
        raise _unusable(file, "it is not a .safetensors file; a pickle would run whatever its author put into it")
    try:
        return load_file(file)
    except FileNotFoundError:
        raise _unusable(file, "there is no such file") from None
    except (OSError, SafetensorError) as error:
        raise _unusable(file, f"it can't be read ({type(error).__name__})") from error


def _clean(name: str) -> str:
    """Without the prefixes of whatever wrote it, also several of them."""
    cut = True
    while cut:
        cut = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, cut = name.removeprefix(prefix), True
    return name


def _converted(module: Any, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The file in this model's layout, where diffusers knows that of its first release; empty where it doesn't."""
    known = SINGLE_FILE_LOADABLE_CLASSES.get(type(module).__name__)
    if known is None:
        return {}
    try:
        # The conversion takes tensors out of what it is given.
        converted: dict[str, torch.Tensor] = known["checkpoint_mapping_fn"](dict(given), config=module.config)
    except (KeyError, IndexError, ValueError, RuntimeError):
        return {}
    return converted


def _unusable(file: Path, why: str) -> EngineError:
    return EngineError(Code.MODEL_UNAVAILABLE, f"the overlay {file.name!r} can't be used: {why}")

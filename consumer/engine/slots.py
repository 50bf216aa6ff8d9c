"""Slots for LoRA adapters on a compiled model: what is in a slot changes in place, so that nothing is compiled anew.

Torch compiles a model with the layers that it has, and again when a layer comes, goes or changes its shape, or when a
plain number (a scale) changes. So before compiling, the model gets slots: adapters of zeros, with every layer that any
adapter of the catalogue has, in the largest rank. A batch's adapters are copied into the first slots, with zeros around
them, and their scales are tensors. Zeros add nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch._dynamo import config as dynamo

from consumer.engine.contract import EngineError
from consumer.engine.loading import denoiser_of, is_out_of_memory
from consumer.engine.lora_files import forget, load_onto, read, several_at_once
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["MisfitError", "Packed", "Slots", "pack", "prepare_slots"]

_MOST = 8
"""As many adapters as a request may name."""

_VERSIONS = 8
"""Of a block for the shapes that it meets: torch's own limit."""


class MisfitError(Exception):
    """Slots can't serve this; the message says why."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """``down``: rank x inputs. ``up``: outputs x rank. Convolutions have two more sides. In main memory."""

    down: torch.Tensor
    up: torch.Tensor
    strength: float


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """An adapter that no model knows: its layers, by the names of the modules that they change."""

    layers: Mapping[str, _Layer]


class Slots:
    """``number`` slots on a pipeline's denoiser, for whatever has the layers of ``examples`` in no larger rank."""

    def __init__(self, pipeline: Any, examples: Sequence[Packed], number: int) -> None:
        self._denoiser = denoiser_of(pipeline)
        self._names = [f"slot-{index}" for index in range(number)]
        self._content: list[tuple[Packed | None, float]] = [(None, 0.0)] * number
        layers = [(name, layer) for example in examples for name, layer in example.layers.items()]
        rank = max(layer.down.shape[0] for _, layer in layers)
        dtype = layers[0][1].down.dtype
        for _, layer in layers:
            dtype = torch.promote_types(dtype, layer.down.dtype)
        modules = "|".join(re.escape(name) for name in sorted({name for name, _ in layers}))
        with several_at_once():
            for name in self._names:
                self._denoiser.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=modules), name)
        self._layers = {
            name: module for name, module in _lora_layers(self._denoiser) if self._names[0] in module.lora_A
        }
        for module in self._layers.values():
            for name in self._names:
                for part in (module.lora_A[name], module.lora_B[name]):
                    part.to(dtype)
                    part.weight.data.zero_()
                module.scaling[name] = torch.zeros((), device=module.lora_A[name].weight.device)
        self._denoiser.disable_lora()
        # Torch's limit is of versions of a block: for shapes, and now for each number of adapters beside none.
        dynamo.recompile_limit = max(dynamo.recompile_limit, _VERSIONS * (1 + number))

    def put(self, wanted: Sequence[tuple[Packed, float]]) -> None:
        """Have exactly these in force, in this order, with their scales. Raises ``MisfitError``."""
        if len(wanted) > len(self._names):
            raise MisfitError(f"{len(wanted)} adapters at once are more than the {len(self._names)} slots")
        for packed, _ in wanted:
            self._check(packed)
        for index, (packed, scale) in enumerate(wanted):
            held, _ = self._content[index]
            if held is not packed:
                # Whatever stops the copying leaves a slot that nobody takes for filled.
                self._content[index] = None, 0.0
                self._fill(self._names[index], packed)
            if self._content[index] != (packed, scale):
                self._scale(self._names[index], packed, scale)
                self._content[index] = packed, scale
        self._denoiser.enable_lora()
        self._denoiser.set_adapter(self._names[: len(wanted)])

    def remove(self) -> None:
        """Leave the denoiser without slots."""
        with several_at_once():
            self._denoiser.delete_adapters(self._names)

    def _check(self, packed: Packed) -> None:
        for name, layer in packed.layers.items():
            module = self._layers.get(name)
            if module is None:
                raise MisfitError(f"an adapter changes {name}, which none did when the model was loaded")
            most = module.lora_A[self._names[0]].weight.shape[0]
            if layer.down.shape[0] > most:
                raise MisfitError(f"an adapter has rank {layer.down.shape[0]}, above the {most} of the slots")

    def _fill(self, slot: str, packed: Packed) -> None:
        for name, module in self._layers.items():
            down, up = module.lora_A[slot].weight.data, module.lora_B[slot].weight.data
            down.zero_()
            up.zero_()
            layer = packed.layers.get(name)
            if layer is not None:
                rank = layer.down.shape[0]
                down[:rank].copy_(layer.down)
                up[:, :rank].copy_(layer.up)

    def _scale(self, slot: str, packed: Packed, scale: float) -> None:
        for name, layer in packed.layers.items():
            self._layers[name].scaling[slot].fill_(layer.strength * scale)


def prepare_slots(pipeline: Any, card: ModelCard) -> Slots | None:
    """Slots for the card's adapters, to be made before the model is compiled; None where they bring nothing.

    CUDA graphs and offloading keep to addresses of their own. Raises ``EngineError(out_of_memory)``.
    """
    if card.compile != "blocks" or card.offload != "none" or not card.adapters:
        return None
    try:
        examples = [example for one in card.adapters.values() if (example := _example(pipeline, one.file)) is not None]
        return Slots(pipeline, examples, min(len(card.adapters), _MOST)) if examples else None
    except MisfitError as misfit:
        print(f"adapters are compiled one by one: {misfit}", file=sys.stderr, flush=True)
        return None
    except Exception as error:
        if is_out_of_memory(error):
            raise EngineError(Code.OUT_OF_MEMORY, "there is not enough memory for the slots of the adapters") from error
        raise


def pack(pipeline: Any, label: str) -> Packed:
    """Take the adapter ``label`` off the pipeline. Raises ``MisfitError`` for one of another build than plain LoRA."""
    try:
        denoiser = denoiser_of(pipeline)
        for part, labels in pipeline.get_list_adapters().items():
            if label in labels and getattr(pipeline, part) is not denoiser:
                raise MisfitError(f"an adapter changes the {part}")
        return Packed({name: _layer(module, name, label) for name, module in _tuned(denoiser, label)})
    finally:
        forget(pipeline, label)


def _example(pipeline: Any, file: Path) -> Packed | None:
    """None for what can't be used now: a request for it says why."""
    label = "example"
    try:
        load_onto(pipeline, file, read(file), label)
    except EngineError:
        return None
    return pack(pipeline, label)


def _layer(module: Any, name: str, label: str) -> _Layer:
    plain = (
        isinstance(module, LoraLayer)
        and label in module.lora_A
        and label not in module.lora_variant
        and not module.lora_bias[label]
        and getattr(module.get_base_layer(), "groups", 1) == 1
    )
    if not plain:
        raise MisfitError(f"an adapter is not a plain LoRA at {name}")
    down, up = module.lora_A[label].weight, module.lora_B[label].weight
    return _Layer(down.detach().to("cpu", copy=True), up.detach().to("cpu", copy=True), float(module.scaling[label]))


def _tuned(denoiser: Any, label: str) -> Iterator[tuple[str, Any]]:
    for name, module in denoiser.named_modules():
        if isinstance(module, BaseTunerLayer) and label in module._get_available_adapters():
            yield name, module


def _lora_layers(denoiser: Any) -> Iterator[tuple[str, Any]]:
    for name, module in denoiser.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module

"""``models.yaml``: what can be asked for, within which limits, at what cost.

What is about pictures when a request is admitted is here and in ``requests``: admission itself only counts units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.errors import Code, EaselError, ErrorType
from schemas.model_files import AdapterFile, HubPipeline, Overlay, Safety
from schemas.requests import Adapter, GenerationRequest, Kind, Name, Parameters, kind_of
from schemas.yaml_file import MisplacedError, read_yaml

__all__ = [
    "AdapterFile",
    "Catalog",
    "Defaults",
    "HubPipeline",
    "ModelCard",
    "ModelLimits",
    "Overlay",
    "Safety",
    "Style",
    "load_catalog",
]

_STRENGTH: dict[Kind, float] = {"image_to_image": 0.6, "inpainting": 1.0}
"""Where a request leaves it open. What is under a mask is made anew; a whole picture is to be known again."""
UNIT_PIXELS = 2**20
"""One unit is one step of one picture of this many pixels."""

ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Defaults(_Entry):
    """What a request that leaves them open gets."""

    width: Annotated[int, Field(ge=16)]
    height: Annotated[int, Field(ge=16)]
    steps: Annotated[int, Field(ge=1)]
    guidance: Annotated[float, Field(ge=0.0)] = 0.0


class ModelLimits(_Entry):
    """What the model can do. Sides in pixels."""

    min_side: Annotated[int, Field(ge=16)] = 64
    max_side: Annotated[int, Field(ge=16)] = 2_048
    multiple_of: Annotated[int, Field(ge=1)] = 8
    pixels: Annotated[int, Field(ge=256)] | None = None
    steps: Annotated[int, Field(ge=1)] = 100
    guidance: Annotated[float, Field(ge=0.0)] = 20.0
    images: Annotated[int, Field(ge=1, le=10)] = 10


class Style(_Entry):
    """Words that a style adds to a prompt, after a comma."""

    prompt_suffix: str = ""
    negative_suffix: str = ""


class ModelCard(_Entry):
    """One model of the catalogue."""

    pipeline: Path | HubPipeline
    """A diffusers pipeline folder, taken from the folder of the file that names it; or one of the hub."""
    description: str = ""
    engine: Literal["diffusers", "null"] = "diffusers"
    pool: PoolName = "default"
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"
    """``cpu``, ``cuda``, ``cuda:1``; ``auto`` takes a GPU where there is one."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("text_to_image",)
    """What the model can do: ``text_to_image``, ``image_to_image``, ``inpainting``."""
    defaults: Defaults
    limits: ModelLimits = ModelLimits()
    previews_every: Annotated[int, Field(ge=1)] | None = None
    """A small picture of how far it is after each so many steps, for requests that ask for it; null: none."""
    cost_factor: Annotated[Decimal, Field(gt=0, max_digits=9, decimal_places=3)] = Decimal(1)
    guidance_doubles_above: float | None = 1.0
    """Guidance above this runs each step twice; null for models whose guidance is distilled into them."""
    max_batch_images: Annotated[int, Field(ge=1, le=256)] = 8
    continuous: bool = False
    """Let pictures join a batch at any step and leave when they are done, whatever their steps and guidance."""
    styles: dict[str, Style] = Field(default_factory=dict)
    compile: Literal["none", "blocks", "graphs"] = "none"
    """``blocks`` compiles the denoiser's repeated blocks, ``graphs`` all of it, replayed as CUDA graphs. What can't be
    compiled on a machine runs as it is."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep in main memory what does not run at the moment: whole models, or layer by layer (slow)."""
    vae_slicing: bool = False
    """Decode the pictures of a batch one by one."""
    vae_tiling: bool = False
    """Decode large pictures in tiles."""
    overlay: Overlay | None = None
    adapters: dict[Name, AdapterFile] = Field(default_factory=dict)
    """The adapters that requests may name."""
    max_loaded_adapters: Annotated[int, Field(ge=1, le=256)] = 8
    """The adapters used last stay in memory."""
    safety: Safety | None = None
    always: list[Adapter] = Field(default_factory=list)
    """Adapters that every request gets, such as a Turbo LoRA; one that names the same sets its scale."""

    @model_validator(mode="after")
    def _defaults_are_within_limits(self) -> ModelCard:
        given = self.defaults
        problem = _size_problem(self.limits, given.width, given.height)
        if problem is None and given.steps > self.limits.steps:
            problem = "steps", f"more than {self.limits.steps}"
        if problem is None and given.guidance > self.limits.guidance:
            problem = "guidance", f"more than {self.limits.guidance}"
        if problem:
            raise MisplacedError(f"is outside the model's own limits: {problem[1]}", "defaults", problem[0])
        if self.continuous and (self.offload != "none" or self.compile == "graphs"):
            raise MisplacedError("needs `offload: none`, and `compile` other than `graphs`", "continuous")
        if self.previews_every is not None and self.safety is not None and self.safety.policy != "flag":
            raise MisplacedError(
                "previews show what the image check holds back: leave one of them out", "previews_every"
            )
        for index, adapter in enumerate(self.always):
            if adapter.name not in self.adapters:
                raise MisplacedError("is not one of the model's adapters", "always", index, "name")
        return self

    def resolve(self, request: GenerationRequest, request_id: str) -> Parameters:
        """The request with the model's defaults filled in. Raises ``EaselError`` for what the model can't do."""
        kind = self._kind(request)
        for adapter in request.adapters:
            if adapter.name not in self.adapters:
                known = ", ".join(sorted(self.adapters)) or "none"
                raise _refused(
                    "adapters", f"the model {request.model!r} has no adapter {adapter.name!r}; it has: {known}"
                )
        width = request.width if request.width is not None else self.defaults.width
        height = request.height if request.height is not None else self.defaults.height
        steps = request.steps if request.steps is not None else self.defaults.steps
        guidance = request.guidance if request.guidance is not None else self.defaults.guidance
        problem = _size_problem(self.limits, width, height)
        if problem:
            raise _refused(problem[0], f"{problem[0]} of {request.model!r}: {problem[1]}")
        for name, value, most in (
            ("steps", steps, self.limits.steps),
            ("guidance", guidance, self.limits.guidance),
            ("images", request.images, self.limits.images),
        ):
            if value > most:
                raise _refused(name, f"{name} of {request.model!r} is at most {most}")
        prompt, negative = self._styled(request)
        return Parameters(
            model=request.model,
            prompt=prompt,
            negative_prompt=negative,
            images=request.images,
            width=width,
            height=height,
            steps=steps,
            guidance=guidance,
            adapters=self._with_always(request.adapters),
            seed=_drawn_seed(request_id) if request.seed is None else request.seed,
            source_image=request.source_image,
            strength=_STRENGTH.get(kind) if request.strength is None else request.strength,
            mask_image=request.mask_image,
            format=request.format,
            quality=request.quality,
            priority=request.priority,
            deadline=request.deadline,
            previews=request.previews and self.previews_every is not None,
        )

    def cost_milliunits(self, parameters: Parameters, price_factor: Decimal = Decimal(1)) -> int:
        """images x ceil(steps x pixels / 2^20 x (2 with guidance) x the factors), in whole milli-units a picture.

        The steps are those that run.
        """
        doubled = self.guidance_doubles_above is not None and parameters.guidance > self.guidance_doubles_above
        (model, model_part), (price, price_part) = self.cost_factor.as_integer_ratio(), price_factor.as_integer_ratio()
        pixel_steps = parameters.denoising_steps * parameters.width * parameters.height
        # Rounded up, in whole numbers throughout: -(-a // b) is the ceiling of a / b.
        numerator = 1000 * pixel_steps * (2 if doubled else 1) * model * price
        return parameters.images * -(-numerator // (UNIT_PIXELS * model_part * price_part))

    def _kind(self, request: GenerationRequest) -> Kind:
        """What is asked for, as far as it makes sense and the model can do it."""
        kind, named = kind_of(request), "source_image" if request.mask_image is None else "mask_image"
        if request.source_image is None:
            for name in ("mask_image", "strength"):
                if getattr(request, name) is not None:
                    raise EaselError(Code.INVALID_REQUEST, f"{name} needs a source_image", param=name)
        if kind not in self.kinds:
            able = ", ".join(self.kinds)
            raise _refused(named, f"the model {request.model!r} does no {kind}; it does: {able}")
        return kind

    def _with_always(self, asked: list[Adapter]) -> list[Adapter]:
        names = {adapter.name for adapter in asked}
        return [*(adapter for adapter in self.always if adapter.name not in names), *asked]

    def _styled(self, request: GenerationRequest) -> tuple[str, str | None]:
        if request.style is None:
            return request.prompt, request.negative_prompt or None
        style = self.styles.get(request.style)
        if style is None:
            known = ", ".join(sorted(self.styles)) or "none"
            raise _refused("style", f"the model {request.model!r} has no style {request.style!r}; it has: {known}")
        negative = _joined(request.negative_prompt or "", style.negative_suffix)
        return _joined(request.prompt, style.prompt_suffix), negative or None


class Catalog(_Entry):
    """The file: every model by its name."""

    version: Annotated[int, Field(ge=1)] = 1
    models: Annotated[Mapping[ModelName, ModelCard], Field(min_length=1)]
    aliases: Mapping[ModelName, ModelName] = Field(default_factory=dict)
    """Other names for models, under which clients of OpenAI ask: ``gpt-image-2`` and which model that is."""
    draining: list[PoolName] = Field(default_factory=list)
    """Pools for which nothing new leaves: requests are accepted and wait, what is with the workers goes on."""

    @model_validator(mode="after")
    def _aliases_name_models(self) -> Catalog:
        for alias, name in self.aliases.items():
            if alias in self.models:
                raise MisplacedError("is the name of a model", "aliases", alias)
            if name not in self.models:
                raise MisplacedError(f"there is no model {name!r}", "aliases", alias)
        return self

    @model_validator(mode="after")
    def _draining_pools_exist(self) -> Catalog:
        for index, pool in enumerate(self.draining):
            if pool not in self.pools():
                raise MisplacedError(f"no model has the pool {pool!r}", "draining", index)
        return self

    def card(self, name: str) -> ModelCard:
        """The card of a model. Raises ``EaselError(model_not_found)``."""
        card = self.models.get(name)
        if card is None:
            known = ", ".join(sorted(self.models))
            raise EaselError(
                Code.MODEL_NOT_FOUND,
                f"there is no model {name!r}; there is: {known}",
                param="model",
                type=ErrorType.NOT_FOUND,
            )
        return card

    def pools(self) -> list[str]:
        return sorted({card.pool for card in self.models.values()})


def load_catalog(path: Path) -> Catalog:
    """Read the file. Raises ``ConfigError``."""
    catalog = read_yaml(path, Catalog)
    folder = path.resolve().parent
    return catalog.model_copy(
        update={"models": {name: _in_folder(card, folder) for name, card in catalog.models.items()}}
    )


def _in_folder(card: ModelCard, folder: Path) -> ModelCard:
    """The card with its paths as seen from anywhere."""
    overlay = card.overlay and card.overlay.model_copy(update={"file": folder / card.overlay.file})
    adapters = {
        name: adapter.model_copy(update={"file": folder / adapter.file}) for name, adapter in card.adapters.items()
    }
    pipeline = folder / card.pipeline if isinstance(card.pipeline, Path) else card.pipeline
    safety = card.safety
    if safety is not None and isinstance(safety.checker, Path):
        safety = safety.model_copy(update={"checker": folder / safety.checker})
    return card.model_copy(update={"pipeline": pipeline, "overlay": overlay, "adapters": adapters, "safety": safety})


def _size_problem(limits: ModelLimits, width: int, height: int) -> tuple[str, str] | None:
    for name, side in (("width", width), ("height", height)):
        if not limits.min_side <= side <= limits.max_side:
            return name, f"{side} is not between {limits.min_side} and {limits.max_side}"
        if side % limits.multiple_of:
            return name, f"{side} is not a multiple of {limits.multiple_of}"
    if limits.pixels is not None and width * height > limits.pixels:
        return "width", f"{width}x{height} is more than {limits.pixels} pixels"
    return None


def _joined(text: str, words: str) -> str:
    return ", ".join(part for part in (text, words.strip(" ,")) if part)


def _drawn_seed(request_id: str) -> int:
    # From the id's own random bits: a decision made again after a crash draws the same seed.
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:4], "big")


def _refused(param: str, message: str) -> EaselError:
    return EaselError(Code.LIMIT_EXCEEDED, message, param=param)

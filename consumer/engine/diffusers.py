"""Any pipeline that ``DiffusionPipeline.from_pretrained`` loads, in batches whose pictures are as if made alone."""

from __future__ import annotations

import gc
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from consumer.engine.adapters import Adapters, adapters_of
from consumer.engine.continuous import Drawn, run_together, stand_in
from consumer.engine.contract import (
    Batch,
    Company,
    EngineBrokenError,
    EngineError,
    Item,
    Kind,
    Made,
    Missed,
    OnPreview,
    Row,
    Shape,
    TextUse,
    no_preview,
)
from consumer.engine.cores import available_cores
from consumer.engine.kinds import blend_of, forms_of, given_pictures, keep_unmasked
from consumer.engine.loading import compile_denoiser, device_of, is_out_of_memory, load_pipeline
from consumer.engine.measuring import peak_of, usable_memory, weights_of
from consumer.engine.memory import Footprint
from consumer.engine.previews import Previewer
from consumer.engine.screening import Screen, load_screen
from consumer.engine.texts import TextCache
from consumer.engine.weights import pipeline_folder, weights_revision
from schemas.catalog import ModelCard
from schemas.errors import Code

__all__ = ["DiffusersEngine"]

_WARM_STEPS = 2


class _AllCanceledError(Exception):
    """Nobody waits for any picture of this batch."""


class DiffusersEngine:
    """Runs stock diffusers pipelines. The contract says what the methods do."""

    def __init__(self) -> None:
        self._pipeline: Any = None
        self._card: ModelCard | None = None
        self._forms: dict[Kind, Any] = {}
        self._adapters: Adapters | None = None
        self._texts = TextCache(self._text_adapters)
        self._screen: Screen | None = None
        self._previewer = Previewer(None, None)
        self._on_preview: OnPreview = no_preview
        self._revision = self._adapters_revision = ""
        self._footprint = Footprint()

    @property
    def footprint(self) -> Footprint:
        """See the contract."""
        return self._footprint

    @property
    def weights_revision(self) -> str:
        revision = f"{self._revision}+{self._adapters_revision}" if self._adapters_revision else self._revision
        return f"{revision}~{self._screen.revision}" if self._screen else revision

    @property
    def texts(self) -> TextUse:
        return self._texts.used

    def show(self, on_preview: OnPreview) -> None:
        """See the contract."""
        self._on_preview = on_preview

    def load(self, card: ModelCard) -> None:
        """See ``load_pipeline``."""
        self.unload()
        torch.set_num_threads(available_cores())
        overlay = card.overlay
        self._revision = weights_revision(pipeline_folder(card), overlay.file if overlay else None)
        self._pipeline = pipeline = load_pipeline(card)
        self._card = card
        self._adapters = adapters_of(pipeline, card)
        self._adapters_revision = ""
        self._forms = forms_of(pipeline, card.kinds)
        self._previewer = Previewer(pipeline, card.previews_every)
        for form in self._forms.values():
            self._texts.attach(form)
        compile_denoiser(pipeline, card)
        self._screen = load_screen(card, device_of(card))
        weights, on_gpu = weights_of(pipeline)
        beside = self._screen.nbytes if self._screen else 0
        on_device = on_gpu if device_of(card).startswith("cuda") else weights
        self._footprint = Footprint(weights + beside, on_device + beside)

    def warm(self) -> None:
        """A picture of the default size in two steps, and two at once. What can't be compiled here runs as it is, and
        says so."""
        card = self._card
        if card is None or self._adapters is None:
            return
        try:
            for adapters in self._adapters.to_warm:
                self._warm_up(card, 1, adapters)
        except EngineError as error:
            if card.compile == "none" or error.code is Code.OUT_OF_MEMORY:
                raise
            print(f"compiling failed ({error.message}): the model runs without", file=sys.stderr, flush=True)
            torch.compiler.reset()
            card = card.model_copy(update={"compile": "none"})
            self.load(card)
            self._warm_up(card, 1)
        if card.max_batch_images > 1:
            self._footprint = self._measured(card)

    def _warm_up(self, card: ModelCard, images: int, adapters: tuple[tuple[str, float], ...] = ()) -> None:
        given = card.defaults
        shape = Shape(given.width, given.height, min(_WARM_STEPS, given.steps), given.guidance, adapters=adapters)
        items = tuple(Item(str(number), "", number) for number in range(images))
        self.generate(Batch("", shape, items), lambda _: None, lambda _: False)

    def _measured(self, card: ModelCard) -> Footprint:
        """What batches take, from one picture and from two; both have run once before, so that only batches count."""
        device, pixels = device_of(card), card.defaults.width * card.defaults.height
        usable = usable_memory(device)
        one = peak_of(lambda: self._warm_up(card, 1), device)
        try:
            two = peak_of(lambda: self._warm_up(card, 2), device)
        except EngineError as error:
            if error.code is not Code.OUT_OF_MEMORY:
                raise
            # More than there is, however much that is.
            two = one + usable
        per_image = max(0, two - one)
        return replace(self._footprint, fixed=max(0, one - per_image), per_pixel=per_image / pixels, usable=usable)

    def generate(
        self, batch: Batch, on_step: Callable[[int], None], is_canceled: Callable[[str], bool]
    ) -> Sequence[Made | Missed]:
        """See the contract."""
        try:
            images = self.render(batch, on_step, is_canceled)
            return [
                _result(item, image, self._screen)
                for item, image in zip(batch.items, images, strict=True)
                if not is_canceled(item.id)
            ]
        except _AllCanceledError:
            return []
        except EngineError:
            raise
        except Exception as error:
            raise self._named(error) from error

    def render(
        self, batch: Batch, on_step: Callable[[int], None], is_canceled: Callable[[str], bool]
    ) -> npt.NDArray[np.float32]:
        """The pictures as floats from 0 to 1, items x height x width x 3: parity is measured on these."""
        self._use_adapters(batch.shape)
        return self._draw(self._form(batch.shape.kind), batch, on_step, is_canceled)

    def generate_rows(self, rows: Sequence[Row], company: Company) -> None:
        """See the contract. A run that fails by itself is missed; the others go on."""

        def finish(drawn: Drawn) -> None:
            company.ended(self._result_of(drawn), drawn.seconds)

        try:
            self.render_rows(rows, company, finish)
        except EngineError:
            raise
        except Exception as error:
            raise self._named(error) from error

    def render_rows(self, rows: Sequence[Row], company: Company, finish: Callable[[Drawn], None]) -> None:
        """``generate_rows``, with the pictures as floats."""
        self._use_adapters(rows[0].shape)

        def draw(row: Row, on_step: Callable[[int], None]) -> npt.NDArray[np.float32]:
            batch = Batch("", row.shape, (row.item,))
            form = stand_in(self._form(row.shape.kind))
            image: npt.NDArray[np.float32] = self._draw(form, batch, on_step, lambda _: False)[0]
            return image

        run_together(rows, company, draw, finish)

    def _result_of(self, drawn: Drawn) -> Made | Missed:
        if not isinstance(drawn.image, Exception):
            return _result(drawn.row.item, drawn.image, self._screen)
        named = self._named(drawn.image)
        if isinstance(named, EngineError) and named.code is not Code.OUT_OF_MEMORY:
            return Missed(drawn.row.item.id, named.code, named.message)
        # Not its own fault alone: with fewer beside it, it may fit.
        raise named from drawn.image

    def _use_adapters(self, shape: Shape) -> None:
        if self._adapters is not None:
            self._adapters_revision = self._adapters.use(shape.adapters)

    def _draw(
        self, pipeline: Any, batch: Batch, on_step: Callable[[int], None], is_canceled: Callable[[str], bool]
    ) -> npt.NDArray[np.float32]:
        def after_step(_pipeline: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if blend is not None:
                tensors["latents"] = blend.after_step(index, tensors["latents"])
            self._previewer.show(pipeline, batch, index + 1, tensors["latents"], self._on_preview)
            on_step(index + 1)
            # The pipeline's own interrupt would still decode what nobody wants.
            if all(is_canceled(item.id) for item in batch.items):
                raise _AllCanceledError
            return tensors

        shape = batch.shape
        arguments = frozenset(inspect.signature(pipeline.__call__).parameters)
        # Schedulers count steps and keep past outputs: one that is used twice makes another picture.
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        given = given_pictures(batch)
        blend = blend_of(pipeline, batch, given)
        wanted: dict[str, Any] = {
            # Lists of their own: some pipelines change what they are given.
            "prompt": [item.prompt for item in batch.items],
            "width": shape.width,
            "height": shape.height,
            "num_inference_steps": shape.steps,
            "guidance_scale": shape.guidance,
            # On the CPU and one for each picture: the noise is then the same on every device and in any company.
            "generator": [torch.Generator("cpu").manual_seed(item.seed) for item in batch.items],
            "callback_on_step_end": after_step,
            "output_type": "np",
            **given,
        }
        if shape.negative:
            wanted["negative_prompt"] = [item.negative_prompt or "" for item in batch.items]
        if "true_cfg_scale" in arguments and not _guidance_is_distilled(pipeline):
            # Theirs is the guidance of a second forward, which needs something to lead away from.
            wanted["true_cfg_scale"] = shape.guidance
            if shape.guidance > 1 and not shape.negative:
                wanted["negative_prompt"] = [" "] * len(batch.items)
        known = {name: value for name, value in wanted.items() if name in arguments}
        return keep_unmasked(batch, np.asarray(pipeline(**known).images, dtype=np.float32))

    def unload(self) -> None:
        """See the contract."""
        self._pipeline, self._card, self._adapters, self._screen, self._forms = None, None, None, None, {}
        self._footprint, self._previewer = Footprint(), Previewer(None, None)
        self._texts = TextCache(self._text_adapters)
        gc.collect()
        _free_cache()

    def _text_adapters(self) -> str:
        return self._adapters_revision if self._adapters is not None and self._adapters.touch_text else ""

    def _form(self, kind: Kind) -> Any:
        form = self._forms.get(kind)
        if form is None:
            raise EngineError(Code.MODEL_UNAVAILABLE, f"the model's entry in this worker's catalogue has no {kind}")
        return form

    def _named(self, error: Exception) -> Exception:
        if is_out_of_memory(error):
            _free_cache()
            return EngineError(Code.OUT_OF_MEMORY, "there is not enough memory for pictures of this size")
        if "CUDA error" in str(error):
            # Every later call in this process fails too (a sticky error of the CUDA context).
            return EngineBrokenError(str(error))
        traceback.print_exception(error, file=sys.stderr)
        return EngineError(Code.GENERATION_FAILED, f"the model's pipeline failed with {type(error).__name__}")


def _result(item: Item, image: npt.NDArray[np.float32], screen: Screen | None) -> Made | Missed:
    if not np.isfinite(image).all():
        return Missed(
            item.id, Code.GENERATION_FAILED, "the model's numbers overflowed: try another seed or lower guidance"
        )
    pixels = np.ascontiguousarray((image * 255).round().clip(0, 255).astype(np.uint8))
    return screen.passed(item.id, pixels) if screen else Made(item.id, pixels)


def _guidance_is_distilled(pipeline: Any) -> bool:
    """Whether the transformer takes the guidance as a number, in one forward."""
    config = getattr(getattr(pipeline, "transformer", None), "config", None)
    return bool(getattr(config, "guidance_embeds", False))


def _free_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""diffusers' ``StableDiffusionSafetyChecker``: CLIP's idea of a picture, compared with those of unwanted concepts."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import numpy as np
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPImageProcessorPil

from consumer.engine.contract import EngineError, Pixels
from schemas.errors import Code

__all__ = ["SafetyChecker"]

_PREPROCESSOR = "preprocessor_config.json"


class SafetyChecker:
    """Safetensors only, nothing from the network. Without a preprocessor's file, pictures are prepared as for CLIP."""

    def __init__(self, folder: Path, device: str) -> None:
        """Raises ``EngineError(model_unavailable)``, also for a file that lacks some of the weights: those would be
        drawn at random, and nothing be found any more."""
        try:
            self._model, report = StableDiffusionSafetyChecker.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            self._prepare = (
                CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
                if (folder / _PREPROCESSOR).is_file()
                else CLIPImageProcessorPil()
            )
            self._model.to(device).eval()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            raise EngineError(
                Code.MODEL_UNAVAILABLE,
                f"the safety checker {folder.name!r} can't be loaded ({type(error).__name__}): its log says why",
            ) from error
        if lacking := sorted(report["missing_keys"]):
            raise EngineError(
                Code.MODEL_UNAVAILABLE,
                f"the safety checker {folder.name!r} lacks {len(lacking)} of its weights, such as {lacking[0]}",
            )
        self._device = device

    @property
    def nbytes(self) -> int:
        """See ``Checker``."""
        return sum(part.numel() * part.element_size() for part in self._model.parameters())

    def finds(self, pixels: Pixels) -> bool:
        """See ``Checker``."""
        given = self._prepare(Image.fromarray(pixels), return_tensors="pt")["pixel_values"].to(self._device)
        # It blackens the pictures that it is given: ours it does not get.
        _, found = self._model(clip_input=given, images=[np.zeros(1)])
        return bool(found[0])

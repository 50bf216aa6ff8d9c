"""Puts the trained parts together as a stock diffusers pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

__all__ = ["assemble", "save"]


def assemble(
    autoencoder: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModelWithProjection,
    unet: UNet2DConditionModel,
) -> StableDiffusionXLPipeline:
    """SDXL's pipeline with its second text encoder alone, whose pooled output it gives to the UNet."""
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder, text_encoder=None, tokenizer=None, text_encoder_2=text_encoder, tokenizer_2=tokenizer,
        unet=unet, force_zeros_for_empty_prompt=True, add_watermarker=False,
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: StableDiffusionXLPipeline, folder: Path) -> None:
    """Write the pipeline in half precision as safetensors. Other files in `folder`, the model card too, stay.

    The pipeline's own weights are rounded to half precision by this.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("vae", "unet", "text_encoder_2", "tokenizer_2", "scheduler"):
        shutil.rmtree(folder / part, ignore_errors=True)
    # Calls leave their padding and truncation in the tokenizer, and saving would keep the last call's.
    pipeline.tokenizer_2.backend_tokenizer.no_padding()
    pipeline.tokenizer_2.backend_tokenizer.no_truncation()
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    pipeline.to(dtype=torch.float32)
    # Diffusers derives this entry while loading and warns when it finds it in the file.
    config = folder / "vae" / "config.json"
    entries = json.loads(config.read_text())
    entries.pop("block_out_channels", None)
    config.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")

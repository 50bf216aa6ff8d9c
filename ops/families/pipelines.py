"""One function a family. The sizes of the true ones are those of the published models' own configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from ops.families.tokenizers import CLIP_TOKENS, byte_tokenizer, clip_tokenizer

__all__ = ["FAMILIES", "Family", "Size", "make_pipeline"]

Family = Literal["z-image", "qwen-image", "flux", "sdxl"]
Size = Literal["tiny", "true"]
"""``true``: the transformer (or UNet) and the VAE as published; the text encoder has two layers either way."""

_BYTE_TOKENS = 320


def make_pipeline(family: Family, size: Size, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """A pipeline of ``family`` whose weights are drawn from seed 0, on ``device`` from the start."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            pipeline = _MAKERS[family](size)
    finally:
        torch.set_default_dtype(before)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _z_image(size: Size) -> ZImagePipeline:
    text = 32 if size == "tiny" else 2560
    if size == "tiny":
        transformer = ZImageTransformer2DModel(
            dim=64, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=text, axes_dims=[8, 12, 12]
        )
    else:
        transformer = ZImageTransformer2DModel(cap_feat_dim=text)
    # They are made as empty tensors: whatever the memory held.
    for pad in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(pad, std=0.02)
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=_BYTE_TOKENS,
            hidden_size=text,
            intermediate_size=text * 2,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=text // 2,
            max_position_embeddings=1024,
        )
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(size, latents=16, scaling=0.3611, shift=0.1159),
        text_encoder=encoder,
        tokenizer=byte_tokenizer(),
        transformer=transformer,
    )


def _qwen_image(size: Size) -> QwenImagePipeline:
    if size == "tiny":
        text, heads = 32, 2
        transformer = QwenImageTransformer2DModel(
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=text,
            axes_dims_rope=(4, 6, 6),
        )
        vae = AutoencoderKLQwenImage(base_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1)
    else:
        text, heads = 3584, 28
        transformer = QwenImageTransformer2DModel(joint_attention_dim=text)
        vae = AutoencoderKLQwenImage()
    layers = {
        "vocab_size": _BYTE_TOKENS,
        "hidden_size": text,
        "intermediate_size": text * 2,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [text // heads // 8, *([text // heads // 16 * 3] * 2)],
            "rope_theta": 1_000_000.0,
        },
    }
    seeing = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": text}
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=layers, vision_config=seeing))
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=encoder,
        tokenizer=byte_tokenizer(),
        transformer=transformer,
    )


def _flux(size: Size) -> FluxPipeline:
    if size == "tiny":
        text, pooled = 32, 32
        transformer = FluxTransformer2DModel(
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=text,
            pooled_projection_dim=pooled,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        )
    else:
        text, pooled = 4096, 768
        transformer = FluxTransformer2DModel(guidance_embeds=True)
    encoder = T5EncoderModel(
        T5Config(vocab_size=_BYTE_TOKENS, d_model=text, d_ff=text, d_kv=16, num_layers=2, num_heads=2)
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_autoencoder(size, latents=16, scaling=0.3611, shift=0.1159),
        text_encoder=CLIPTextModel(_clip(pooled)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=encoder,
        tokenizer_2=byte_tokenizer(model_max_length=512),
        transformer=transformer,
    )


def _sdxl(size: Size) -> StableDiffusionXLPipeline:
    widths: tuple[int, ...]
    blocks: tuple[str, ...]
    if size == "tiny":
        first, second, widths, depth, ids = 16, 16, (32, 64), [1, 1], 8
        blocks = ("DownBlock2D", "CrossAttnDownBlock2D")
    else:
        first, second, widths, depth, ids = 768, 1280, (320, 640, 1280), [1, 2, 10], 256
        blocks = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=widths,
        layers_per_block=2,
        down_block_types=blocks,
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(blocks)),
        attention_head_dim=[width // 64 or 1 for width in widths],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=ids,
        transformer_layers_per_block=depth,
        projection_class_embeddings_input_dim=6 * ids + second,
        cross_attention_dim=first + second,
    )
    return StableDiffusionXLPipeline(
        vae=_autoencoder(size, latents=4, scaling=0.13025, shift=None),
        text_encoder=CLIPTextModel(_clip(first)),
        text_encoder_2=CLIPTextModelWithProjection(_clip(second)),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def _clip(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=CLIP_TOKENS,
        hidden_size=width,
        intermediate_size=width * 2,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=max(1, width // 64),
        bos_token_id=CLIP_TOKENS - 2,
        eos_token_id=CLIP_TOKENS - 1,
        pad_token_id=CLIP_TOKENS - 1,
    )


def _autoencoder(size: Size, *, latents: int, scaling: float, shift: float | None) -> AutoencoderKL:
    # Eight times smaller a side either way, as the pipelines' own arithmetic expects.
    widths = (8, 8, 8, 8) if size == "tiny" else (128, 256, 512, 512)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1 if size == "tiny" else 2,
        latent_channels=latents,
        sample_size=1024,
        norm_num_groups=4 if size == "tiny" else 32,
        scaling_factor=scaling,
        shift_factor=shift,
        use_quant_conv=shift is None,
        use_post_quant_conv=shift is None,
    )


_MAKERS: dict[Family, Callable[[Size], Any]] = {
    "z-image": _z_image,
    "qwen-image": _qwen_image,
    "flux": _flux,
    "sdxl": _sdxl,
}
FAMILIES: tuple[Family, ...] = tuple(_MAKERS)

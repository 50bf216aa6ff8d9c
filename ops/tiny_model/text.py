"""The text encoder: a small CLIP text model whose pooled output states what the caption says of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from ops.tiny_model.captions import caption
from ops.tiny_model.lanes import Lanes
from ops.tiny_model.optim import Optimiser, learning_rate
from ops.tiny_model.runs import Run
from ops.tiny_model.scenes import CODE_SIZE, random_scene, scene_code

__all__ = ["CODE_SCALE", "TEXT_WIDTH", "build", "build_tokenizer", "embed", "train"]

CODE_SCALE = 4.0
"""The pooled embedding of a caption is this times its scene's code: of the size of other inputs of the UNet."""

_MAX_TOKENS = 48
_VOCABULARY = 768
TEXT_WIDTH = 192
_LAYERS = 3
_PEAK_RATE = 2e-3
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(folder: Path, seed: int) -> CLIPTokenizer:
    """Make a byte-level BPE tokenizer from our own captions and keep it in `folder`, or load the one that is there."""
    if (folder / "tokenizer.json").exists():
        return CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng((seed, 17))
    texts = [caption(random_scene(rng), rng)[0] for _ in range(4000)]
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=_END))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=_VOCABULARY, min_frequency=20, special_tokens=[_START, _END], initial_alphabet=alphabet,
            end_of_word_suffix="</w>", show_progress=False,
        ),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    _, merges = (Path(p) for p in bpe.model.save(str(folder)))
    vocabulary = bpe.get_vocab()
    for letter in alphabet:
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    pairs = [tuple(line.split()) for line in merges.read_text().splitlines() if not line.startswith("#version")]
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=_MAX_TOKENS)
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def build(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """A fresh text model for the tokenizer's vocabulary."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer), projection_dim=CODE_SIZE,
            hidden_size=TEXT_WIDTH, intermediate_size=3 * TEXT_WIDTH,
            num_hidden_layers=_LAYERS, num_attention_heads=6, max_position_embeddings=_MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def embed(model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """The pooled embeddings that a pipeline would compute: float32 of shape (n, CODE_SIZE)."""
    tokens = tokenizer(list(texts), padding="longest", truncation=True, return_tensors="pt")
    pooled: Tensor = model(tokens.input_ids).text_embeds
    return pooled.float()


def _loss(
    model: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, texts: Sequence[str], wanted: Tensor, rows: slice
) -> Tensor:
    return functional.mse_loss(embed(model, tokenizer, texts[rows]), wanted[rows])


def train(
    run: Run, lanes: Lanes, tokenizer: CLIPTokenizer, steps: int, seed: int, batch: int = 96
) -> CLIPTextModelWithProjection:
    """Train for `steps` by regression on scene codes, going on from the run's checkpoint; returns averaged weights."""
    torch.manual_seed(seed)
    model = build(tokenizer)
    embeddings = model.text_model.embeddings
    plain = [embeddings.token_embedding.weight, embeddings.position_embedding.weight]
    optimiser = Optimiser(model, lanes, plain=plain, decay=0.995)
    for step in run.steps(steps, model, optimiser):
        rng = np.random.default_rng((seed, 5, step))
        pairs = [caption(random_scene(rng), rng) for _ in range(batch - 1)]
        texts = [text for text, _ in pairs] + [""]
        codes = np.stack([scene_code(said) for _, said in pairs] + [np.zeros(CODE_SIZE, np.float32)])
        loss = partial(_loss, model, tokenizer, texts, CODE_SCALE * torch.from_numpy(codes))
        mean = lanes.backward(model, loss, batch)
        optimiser.step(learning_rate(step, steps, _PEAK_RATE, tail=0.5))
        run.log(step, mean)
    model.load_state_dict(optimiser.average)
    return model.eval().requires_grad_(False)

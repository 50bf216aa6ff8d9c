"""Tokenizers of single bytes: small, made here, and with the special tokens that the pipelines' templates use."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

__all__ = ["CLIP_TOKENS", "byte_tokenizer", "clip_tokenizer"]

CLIP_TOKENS = 514
"""256 bytes, the same at the end of a word, and two special ones."""

_END = "<|endoftext|>"
_TURN = ("<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """In the place of Qwen's and T5's: 256 bytes and three special tokens."""
    vocabulary = {letter: number for number, letter in enumerate(_alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END, pad_token=_END, **options)
    fast.add_special_tokens({"additional_special_tokens": list(_TURN)})
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def clip_tokenizer() -> CLIPTokenizer:
    """In the place of CLIP's."""
    letters = _alphabet()
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", _END]
    return CLIPTokenizer(
        vocab={name: number for number, name in enumerate(names)}, merges=[], model_max_length=77, pad_token=_END
    )


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())

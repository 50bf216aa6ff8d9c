"""``python -m ops.bench.prompts``: what prompt rules cost a request. One line of JSON, in microseconds a prompt."""

from __future__ import annotations

import json
import random
import statistics
import time

from consumer.admission.prompts import PromptGuard
from schemas.prompt_rules import PromptRule
from schemas.tenants import Directory, Tenant

__all__ = ["measure"]

_RULES = 1_000
_ROUNDS = 200
_PROMPTS = (
    "a small red circle left of a large blue square on a white background",
    "masterpiece, best quality, ultra-detailed, long hair, standing in a garden of glass flowers, soft light, 8k, 35mm",
    "A cinematic wide shot of an old lighthouse on a cliff at dusk, waves breaking below, a lone figure with a lantern",
    "一只可爱的小猫坐在窗台上，阳光洒在它的毛发上，背景是模糊的城市街道，写实风格，高清，细节丰富",
)


def measure(rules: int = _RULES) -> dict[str, float]:
    """Median over prompts and rounds, the slowest prompt's median, and the compilation, with rules of a word each."""
    drawn = random.Random(0)  # noqa: S311
    words = ["".join(drawn.choices("abcdefghijklmnoprstuvwy", k=drawn.randint(4, 10))) for _ in range(rules * 7 // 10)]
    words += [
        "".join(chr(0x4E00 + drawn.randrange(3_000)) for _ in range(drawn.randint(2, 4)))
        for _ in range(rules * 3 // 10)
    ]
    tenant = Tenant(id="a")
    found = tuple(PromptRule(name=f"rule-{index}", block=(word,)) for index, word in enumerate(words))
    began = time.perf_counter()
    guard = PromptGuard(Directory(1, {"a": tenant}, {}, {}, found))
    guard.blocking(tenant, _PROMPTS[0])
    compiled_ms = (time.perf_counter() - began) * 1e3
    medians = []
    for prompt in _PROMPTS:
        seen = []
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            guard.blocking(tenant, prompt)
            seen.append((time.perf_counter() - began) * 1e6)
        medians.append(statistics.median(seen))
    return {
        "rules": len(words),
        "median_us": round(statistics.median(medians), 1),
        "slowest_us": round(max(medians), 1),
        "compile_ms": round(compiled_ms, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))

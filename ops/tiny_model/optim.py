"""The optimiser of all three trainings: Muon for matrices and kernels, AdamW for the rest, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ops.tiny_model.lanes import Lanes

__all__ = ["Muon", "Optimiser", "learning_rate"]

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def _orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly, by five Newton-Schulz iterations in bfloat16.

    Coefficients from Jordan et al., "Muon: an optimizer for hidden layers" (2024).
    """
    a, b, c = _NEWTON_SCHULZ
    x: Tensor = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. Kernels of shape (out, in, h, w) are taken as (out, in*h*w) matrices.

    `torch.optim.Muon` takes matrices only; convolutions are most of what is trained here. Updates have the size that
    AdamW's have (0.2 times the root of the longer side, Liu et al., arXiv:2502.16982), so both share one learning rate.
    """

    def __init__(self, params: Iterable[nn.Parameter], lanes: Lanes, *, momentum: float = 0.95, weight_decay: float):
        super().__init__(params, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})
        self._lanes = lanes

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Apply one update to every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            self._lanes.map(lambda p, group=group: self._update(p, group), group["params"])  # type: ignore[misc]

    @torch.no_grad()
    def _update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        if p.grad is None:
            return
        momentum = self.state[p]["momentum"].lerp_(p.grad, 1.0 - group["momentum"])
        update = p.grad.lerp(momentum, group["momentum"]).reshape(p.shape[0], -1)
        scale = 0.2 * math.sqrt(max(update.shape))
        p.mul_(1.0 - group["lr"] * group["weight_decay"])
        p.add_(_orthogonalise(update).reshape(p.shape), alpha=-group["lr"] * scale)


class Optimiser:
    """Muon and AdamW over one model with a moving average of its weights, as one thing to step and store."""

    def __init__(
        self, model: nn.Module, lanes: Lanes, *, plain: Iterable[nn.Parameter] = (), decay: float = 0.999
    ) -> None:
        """`plain` names matrices that AdamW should take too: embeddings, first and last layers."""
        self._model = model
        self._decay = decay
        self._steps = 0
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        others = {id(p) for p in plain}
        matrices = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in others]
        rest = [p for p in model.parameters() if p.ndim < 2 or id(p) in others]
        self._parts: list[torch.optim.Optimizer] = [
            Muon(matrices, lanes, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0),
        ]

    def step(self, lr: float) -> None:
        """Apply one update with this learning rate, forget the gradients, move the average."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)
        self._steps += 1
        weight = 1.0 - min(self._decay, self._steps / (self._steps + 10.0))
        for name, value in self._model.state_dict().items():
            kept = self.average[name]
            if kept.is_floating_point():
                kept.lerp_(value, weight)
            else:
                kept.copy_(value)

    def state(self) -> dict[str, object]:
        """Everything that `restore` needs, as `torch.save` takes it."""
        return {"parts": [p.state_dict() for p in self._parts], "average": self.average, "steps": self._steps}

    def restore(self, state: dict[str, object]) -> None:
        """Go on from what `state` returned."""
        for part, saved in zip(self._parts, state["parts"], strict=True):  # type: ignore[call-overload]
            part.load_state_dict(saved)
        self.average = state["average"]  # type: ignore[assignment]
        self._steps = state["steps"]  # type: ignore[assignment]


def learning_rate(step: int, steps: int, peak: float, *, warm_up: int = 100, tail: float = 0.3) -> float:
    """The rate at `step` of `steps`: up linearly, constant, and down to zero linearly over the last share `tail`."""
    down = (steps - step) / max(1.0, tail * steps)
    return peak * min(1.0, (step + 1) / warm_up, down)

"""Anderson acceleration of a fixed-point iteration (Walker & Ni 2011)."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from .base import Aux


class Anderson:
    """Mix the last m points so that their mixed residual is least.

    min_alpha ||sum_i alpha_i (f(x_i) - x_i)||^2 + ridge |alpha|^2 subject to sum_i alpha_i = 1, per sample;
    x <- beta sum_i alpha_i f(x_i) + (1 - beta) sum_i alpha_i x_i. The ridge is relative to the mean diagonal of the
    Gram matrix, so that it keeps its meaning when residuals are small; relative=False is the authors' absolute one.
    The first proposal is f(x_0).
    """

    def __init__(
        self, m: int = 5, beta: float = 1.0, ridge: float = 1e-3, relative: bool = True, backend: str = "auto"
    ) -> None:
        self.m, self.beta, self.ridge, self.relative, self.backend = m, beta, ridge, relative, backend

    def init(self, x: Tensor) -> Aux:
        shape = (len(x), self.m, x[0].numel())
        return {"X": x.new_zeros(shape), "F": x.new_zeros(shape), "gram": x.new_zeros(len(x), self.m, self.m)}

    def propose(self, memory: Aux, count: int, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Aux]:
        slot = count % self.m
        X = _write(memory["X"], slot, x.flatten(1))
        F = _write(memory["F"], slot, image.flatten(1))
        mixed, gram, _, norms = ops.anderson_mix(
            X, F, memory["gram"], slot, min(count + 1, self.m), self.ridge, self.beta, self.relative, self.backend
        )
        following = image if count == 0 else mixed.view_as(x)
        return following, norms, {"X": X, "F": F, "gram": gram}


def _write(ring: Tensor, slot: int, row: Tensor) -> Tensor:
    """The ring buffer with one row replaced: in place in a solve, out of place where gradients are recorded."""
    if torch.is_grad_enabled() and (row.requires_grad or ring.requires_grad):
        return torch.cat([ring[:, :slot], row.unsqueeze(1), ring[:, slot + 1 :]], dim=1)
    ring[:, slot] = row
    return ring

"""Anderson acceleration of a fixed-point iteration (Walker & Ni 2011), with damping found per sample."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..ops.anderson_step import StepRule, anderson_step, can_step
from .base import Aux
from .rows import secant, write


class Anderson:
    """Mix the last m points so that their mixed residual is least.

    min_alpha ||sum_i alpha_i (f(x_i) - x_i)||^2 + ridge |alpha|^2 subject to sum_i alpha_i = 1, per sample;
    x <- beta sum_i alpha_i f(x_i) + (1 - beta) sum_i alpha_i x_i. The ridge is relative to the mean diagonal of the
    Gram matrix, so that it keeps its meaning when residuals are small; relative=False is the authors' absolute one.
    The first proposal is f(x_0).

    beta=None finds the damping of each sample at each iteration from what the last step did to the mixed residual
    (see `secant`): a map that overshoots, as trained networks do, is damped, and one that contracts is not.
    restart > 0: a sample whose residual exceeds `restart` times its least since the last restart forgets its past.
    drop > 0: points whose residual exceeds `drop` times the newest are forgotten.
    """

    def __init__(
        self,
        m: int = 8,
        beta: float | None = None,
        ridge: float = 1e-8,
        relative: bool = True,
        backend: str = "auto",
        restart: float = 0.0,
        drop: float = 0.0,
    ) -> None:
        self.m, self.beta, self.ridge, self.relative, self.backend = m, beta, ridge, relative, backend
        self.restart, self.drop = restart, drop

    def init(self, x: Tensor) -> Aux:
        shape = (len(x), self.m, x[0].numel())
        memory = {"X": x.new_zeros(shape), "F": x.new_zeros(shape), "gram": x.new_zeros(len(x), self.m, self.m)}
        if self.beta is None:
            memory |= {"mean": x.new_zeros(len(x), shape[2]), "beta": x.new_ones(len(x))}
        if self.restart:
            memory["least"] = x.new_zeros(len(x))
        return memory

    def propose(self, memory: Aux, count: int, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Aux]:
        if can_step(memory, x, image, self.backend):
            rule = StepRule(self.ridge, self.relative, self.beta, self.restart, self.drop)
            return *anderson_step(memory, count, x, image, rule), memory
        slot, valid = count % self.m, min(count + 1, self.m)
        X = write(memory["X"], slot, x.flatten(1))
        F = write(memory["F"], slot, image.flatten(1))
        mixed, gram, alpha, norms = ops.anderson_mix(
            X,
            F,
            memory["gram"],
            slot,
            valid,
            self.ridge,
            1.0 if self.beta is None else self.beta,
            self.relative,
            self.backend,
        )
        after = {"X": X, "F": F, "gram": gram}
        if self.beta is None:
            after["mean"] = _mean(alpha, F, X, valid)
            after["beta"] = torch.ones_like(memory["beta"])
            if count > 0:
                mean = memory["mean"]
                after["beta"] = secant(memory["beta"][:, None] * mean, F[:, slot] - X[:, slot] - mean)
            mixed = mixed - (1 - after["beta"])[:, None] * after["mean"]
        if self.restart or self.drop:
            mixed = self._forget(memory, after, count, mixed, norms)
        return image if count == 0 else mixed.view_as(x), norms, after

    def _forget(self, memory: Aux, after: Aux, count: int, mixed: Tensor, norms: Tensor) -> Tensor:
        """Let some points go: their rows become copies of the newest, which the ridge weighs as one point."""
        slot, gram = count % self.m, after["gram"]
        now = norms[:, 0].detach().to(gram.dtype)
        old = gram.new_zeros(gram.shape[:2], dtype=torch.bool)
        if self.drop:
            old = gram.detach().diagonal(dim1=1, dim2=2) > self.drop**2 * now[:, None]
        if self.restart:
            least = now if count == 0 else memory["least"]
            grown = now > self.restart**2 * least
            after["least"] = torch.where(grown, now, torch.minimum(now, least))
            old = old | grown[:, None]
            residual = after["F"][:, slot] - after["X"][:, slot]
            beta = after["beta"][:, None] if self.beta is None else self.beta
            mixed = torch.where(grown[:, None], after["X"][:, slot] + beta * residual, mixed)
            if self.beta is None:
                after["mean"] = torch.where(grown[:, None], residual, after["mean"])
        if gram.device.type == "cpu" and not torch.compiler.is_compiling() and not old.any():
            return mixed
        row = torch.where(old, slot, torch.arange(self.m, device=gram.device))
        gram = gram.gather(1, row[:, :, None].expand_as(gram))
        after["gram"] = gram.gather(2, row[:, None, :].expand_as(gram))
        for name in ("X", "F"):
            ring = after[name]
            after[name] = torch.where(old[:, :, None], ring[:, slot : slot + 1], ring)
        return mixed


def _mean(alpha: Tensor, F: Tensor, X: Tensor, valid: int) -> Tensor:
    """The mixed residual sum_i alpha_i (F_i - X_i) [B, N], row after row: its rounding is then each sample's own."""
    total = alpha[:, 0, None] * (F[:, 0] - X[:, 0])
    for i in range(1, valid):
        total += alpha[:, i, None] * (F[:, i] - X[:, i])
    return total

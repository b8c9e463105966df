"""Broyden's first ("good") method with a limited memory (Broyden 1965)."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Aux
from .rows import combine, inner, norms_of, secant, write

_PARALLEL = 1e-8  # cosine below which a pair says nothing about the inverse


class Broyden:
    """x <- x - H g, g = f(x) - x, H the inverse of g's Jacobian as the last steps show it.

    H = -beta I + sum_i u_i v_i^T; after a step s that changed g by y: v = H^T s, u = (s - H y) / <v, y>. After m pairs
    the memory starts anew. beta=None takes beta from the last step (see `secant`) whenever it does. restart > 0: a
    sample whose residual exceeds `restart` times its least since the last restart starts anew as well.
    """

    def __init__(self, m: int = 8, beta: float | None = None, restart: float = 0.0) -> None:
        self.m, self.beta, self.restart = m, beta, restart

    def init(self, x: Tensor) -> Aux:
        rows, size = len(x), x[0].numel()
        memory = {name: x.new_zeros(rows, self.m, size) for name in ("U", "V")}
        memory |= {name: x.new_zeros(rows, size) for name in ("x", "g")}
        return memory | {"beta": x.new_ones(rows), "least": x.new_zeros(rows)}

    def propose(self, memory: Aux, count: int, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Aux]:
        point, norms = x.flatten(1), norms_of(x, image)
        g, now = image.flatten(1) - point, norms[:, 0]
        start = torch.full_like(memory["beta"], 1.0 if self.beta is None else self.beta)
        if count == 0:
            after = {**memory, "x": point, "g": g, "beta": start, "least": now}
            return (point + start[:, None] * g).view_as(x), norms, after
        U, V, beta, least = memory["U"], memory["V"], memory["beta"], torch.minimum(memory["least"], now)
        held = (count - 1) % self.m
        step, change = point - memory["x"], g - memory["g"]
        fresh = start if self.beta is not None else secant(step, change)
        if held == 0:
            beta = fresh
        if self.restart:
            grown = now > self.restart**2 * memory["least"]
            least, beta = torch.where(grown, now, least), torch.where(grown, fresh, beta)
            U = torch.where(grown[:, None, None], 0.0, U)
        v = _apply(beta, V[:, :held], U[:, :held], step)
        towards = _apply(beta, U[:, :held], V[:, :held], change)
        weight = inner(v, change)
        useful = weight.abs() > _PARALLEL * (inner(v, v) * inner(change, change)).sqrt()
        u = torch.where(useful[:, None], (step - towards) / torch.where(useful, weight, 1.0)[:, None], 0.0)
        U, V = write(U, held, u), write(V, held, v)
        following = point - _apply(beta, U[:, : held + 1], V[:, : held + 1], g)
        after = {"U": U, "V": V, "x": point, "g": g, "beta": beta, "least": least}
        return following.view_as(x), norms, after


def _apply(beta: Tensor, left: Tensor, right: Tensor, vector: Tensor) -> Tensor:
    """(-beta I + sum_i left_i right_i^T) vector, per sample."""
    out = -beta[:, None] * vector
    if left.shape[1] == 0:
        return out
    weights = torch.stack([inner(right[:, i], vector) for i in range(right.shape[1])], dim=1)
    return out + combine(weights, left)

"""Nesterov's momentum with restarts (O'Donoghue & Candes 2015), for maps that are like a gradient step."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Aux
from .rows import inner, norms_of, secant


class Momentum:
    """p <- x + beta g, x <- p + w (p - last p), g = f(x) - x, w = (t - 1) / t', t' = (1 + sqrt(1 + 4 t^2)) / 2.

    A sample whose residual grew, or whose step points against it, starts anew with t = 1, so without momentum.
    beta=None takes beta from the last step (see `secant`).
    """

    def __init__(self, beta: float | None = None) -> None:
        self.beta = beta

    def init(self, x: Tensor) -> Aux:
        rows, size = len(x), x[0].numel()
        memory = {name: x.new_zeros(rows, size) for name in ("x", "g", "last")}
        return memory | {"t": x.new_ones(rows), "size": x.new_zeros(rows)}

    def propose(self, memory: Aux, count: int, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Aux]:
        point, norms = x.flatten(1), norms_of(x, image)
        g, now = image.flatten(1) - point, norms[:, 0]
        beta = torch.full_like(now, 1.0 if self.beta is None else self.beta)
        if count > 0 and self.beta is None:
            beta = secant(point - memory["x"], g - memory["g"])
        moved = point + beta[:, None] * g
        t, following = torch.ones_like(now), moved
        if count > 0:
            step = moved - memory["last"]
            anew = (now > memory["size"]) | (inner(g, step) < 0)
            last = torch.where(anew, 1.0, memory["t"])
            t = (1 + (1 + 4 * last.square()).sqrt()) / 2
            following = moved + ((last - 1) / t)[:, None] * step
        after = {"x": point, "g": g, "last": moved, "t": t, "size": now}
        return following.view_as(x), norms, after

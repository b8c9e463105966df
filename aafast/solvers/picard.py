"""The plain iteration x <- f(x)."""

from __future__ import annotations

from torch import Tensor

from .base import Aux
from .rows import norms_of


class Picard:
    """x <- (1 - beta) x + beta f(x); beta = 1 is the plain iteration."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def init(self, x: Tensor) -> Aux:
        return {}

    def propose(self, memory: Aux, count: int, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Aux]:
        following = image if self.beta == 1 else (1 - self.beta) * x + self.beta * image
        return following, norms_of(x, image), memory

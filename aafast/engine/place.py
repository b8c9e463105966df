"""Where a plan runs: backend, device, dtype and rounding, and what that decides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import _arena
from ..ops._stack import FusedStack, StackShape
from ..ops._stacks import make_stack
from .pointwise import POINTWISE, Pointwise


@dataclass(frozen=True)
class Place:
    """Backend (cpp, cuda or triton), device and dtype of a solve, and how the products of its stacks are rounded."""

    backend: str
    device: torch.device
    dtype: torch.dtype
    precision: str = "fast"

    def stack(self, channels: tuple[int, ...], normed: tuple[bool, ...], groups: int) -> FusedStack:
        """The stack of these channel counts."""
        return make_stack(StackShape(channels, normed, groups, self.precision), self.dtype, self.backend)

    def pointwise(self) -> Pointwise:
        """The element-wise parts of an iteration."""
        return POINTWISE[self.backend]()

    def chunks(self, batch: int) -> list[tuple[int, int]]:
        """The samples of a batch in the parts that go through a stack together.

        On a CPU few to a thread, so that their activations stay in the caches between two passes; a device takes all.
        """
        size = 2 * max(1, torch.get_num_threads()) if self.backend == "cpp" else batch
        return [(begin, min(begin + size, batch)) for begin in range(0, batch, size)]

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Working memory of this dtype, see aafast.ops._arena.take."""
        return _arena.take(name, shape, self.dtype, self.device)

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)

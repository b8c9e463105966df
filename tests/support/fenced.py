"""Tensors between guard zones, for native code that writes by address."""

from __future__ import annotations

import torch
from torch import Tensor

FENCE = 64
GUARD = 7


class Fenced:
    """Makes tensors that start as poison, or as given, and knows whether something was written beside them."""

    def __init__(self) -> None:
        self._whole: list[Tensor] = []

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Poison: NaN, or -99."""
        return self._inside(torch.full(shape, float("nan") if dtype.is_floating_point else -99, dtype=dtype))

    def like(self, values: Tensor) -> Tensor:
        """A copy of some values."""
        return self._inside(values)

    def _inside(self, values: Tensor) -> Tensor:
        flat = torch.full((values.numel() + 2 * FENCE,), GUARD, dtype=values.dtype)
        self._whole.append(flat)
        inside = flat[FENCE : FENCE + values.numel()].view(values.shape)
        return inside.copy_(values)

    def check(self) -> None:
        """Fail where a guard zone was written."""
        for flat in self._whole:
            assert (flat[:FENCE] == GUARD).all() and (flat[len(flat) - FENCE :] == GUARD).all()

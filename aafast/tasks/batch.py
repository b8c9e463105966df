"""What every task hands to training and evaluation: truth, measurement, and the two forward models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, describe
from ..physics import ForwardModel


class TaskBatch(NamedTuple):
    """Pairs of one shape; `y = true.A(x) + noise`.

    Attributes:
        x: truth [B, C, H, W] float32.
        y: measurement [B, C, H, W] float32.
        nominal: forward model that a solver is told, one per sample.
        true: forward model that made y, one per sample.
        snr: 10 log10(energy of true.A(x) / energy of the noise) in dB [B]; infinite without noise.
    """

    x: Tensor
    y: Tensor
    nominal: ForwardModel
    true: ForwardModel
    snr: Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TaskBatch:
        """The batch and its forward models on `device` and of `dtype`."""
        x, y, snr = (part.to(device=device, dtype=dtype) for part in (self.x, self.y, self.snr))
        return TaskBatch(x, y, self.nominal.to(device, dtype), self.true.to(device, dtype), snr)


def stack(parts: Sequence[np.ndarray | float]) -> Tensor:
    """Arrays or numbers of each pair as one tensor [B, ...] float32."""
    return torch.from_numpy(np.stack(parts).astype(np.float32, copy=False))


def snr_db(clean: np.ndarray, error: np.ndarray) -> float:
    """10 log10(energy of the first / energy of the second) in dB, infinite where the second is zero."""
    signal, noise = (float(np.square(part, dtype=np.float64).sum()) for part in (clean, error))
    return 10 * float(np.log10(signal / noise)) if noise > 0 else float("inf")


def check_range(name: str, limits: tuple[float, float], above_zero: bool = False) -> None:
    """Raise InputError unless `limits` are two finite numbers in order, not below 0 or, where asked, above it."""
    low, high = limits
    if not (0 <= low <= high < float("inf")) or (above_zero and low == 0):
        raise InputError(
            describe(
                f"range of {name}",
                tuple(limits),
                f"(low, high) with {'0 < low' if above_zero else '0 <= low'} <= high",
                "Pass the smallest and the largest value",
            )
        )

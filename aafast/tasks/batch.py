"""What every task hands to training and evaluation: truth, measurement, and the two forward models."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

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
        return TaskBatch(*(part.to(device=device, dtype=dtype) for part in self))

"""The gate of every benchmark: a speed is reported only next to a passed check on the same inputs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(NamedTuple):
    """How far a result is from the oracle, and how far it may be."""

    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # false for NaN

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'RED'}: error {self.error:.1e}, tolerance {self.tolerance:.0e}"


def gate(got: Tensor | tuple[Tensor, ...], want: Tensor | tuple[Tensor, ...], tolerance: float) -> Verdict:
    """The worst output's largest difference over its largest wanted value; NaN where there is one."""
    pairs = zip(*((part,) if isinstance(part, Tensor) else part for part in (got, want)), strict=True)
    errors = [
        (mine.double().cpu() - true.double().cpu()).abs().max()
        / true.double().cpu().abs().max().clamp_min(1e-300)
        for mine, true in pairs
    ]
    return Verdict(float(torch.stack(errors).max()), tolerance)

"""What a solve returns, and what a fixed-point solver is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import torch
from torch import Tensor

Aux = dict[str, Tensor]


class Status(IntEnum):
    """Why a sample's solve ended."""

    RUNNING = 0
    CONVERGED = 1
    MAX_ITER = 2
    DIVERGED = 3


@dataclass
class Solution:
    """The result of a solve.

    x: [B, C, H, W] the reconstruction. status: [B] int8 of `Status`. iterations: [B] int64, evaluations of the
    iteration up to each sample's stop. residuals: [K, B], ||f(x) - x|| / ||f(x)|| at each iteration, NaN after the
    stop. z: [B, C, H, W] the auxiliary variable, or None. wavelet: [B, taps] the estimate w0 + dw, or None.
    aux: the rest of the state at the returned iterate. backend: what computed it. operator: the forward model that was
    used, the calibrated one where the model calibrates (a ForwardModel, which this floor does not know).
    """

    x: Tensor
    status: Tensor
    iterations: Tensor
    residuals: Tensor
    z: Tensor | None = None
    wavelet: Tensor | None = None
    backend: str = "eager"
    operator: Any = None
    aux: Aux = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.x)


def _stack(parts: list[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.cat([part for part in parts if part is not None])


def join(parts: list[Solution]) -> Solution:
    """One solution of a batch from the solutions of its samples; residuals are padded with NaN."""
    longest = max(len(part.residuals) for part in parts)
    residuals = []
    for part in parts:
        missing = part.residuals.new_full((longest - len(part.residuals), len(part)), float("nan"))
        residuals.append(torch.cat([part.residuals, missing]))
    return Solution(
        x=torch.cat([part.x for part in parts]),
        status=torch.cat([part.status for part in parts]),
        iterations=torch.cat([part.iterations for part in parts]),
        residuals=torch.cat(residuals, dim=1),
        z=_stack([part.z for part in parts]),
        wavelet=_stack([part.wavelet for part in parts]),
        backend=parts[0].backend,
        aux={name: torch.cat([part.aux[name] for part in parts]) for name in parts[0].aux},
    )


class FixedPointSolver(Protocol):
    """Proposes the next point from the last point and its image; all it remembers is in the state it returns.

    A sample's proposal depends on that sample alone, to the last bit on a CPU where the mixing operation's does.
    """

    def init(self, x: Tensor) -> Aux:
        """The state before the first evaluation at x [B, ...]."""

    def propose(self, memory: Aux, count: int, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Aux]:
        """From evaluation number `count` (0, 1, ...) return (next point, norms [B, 2], state).

        norms are (||image - x||^2, ||image||^2) per sample. At count 0 what memory holds has no effect. The state has
        the names, shapes and, per sample, rows of memory's; memory's tensors may be changed in place.
        """

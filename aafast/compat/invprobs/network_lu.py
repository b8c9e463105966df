"""The networks of the robust LU scripts, under the authors' names: one iteration each, x -> x."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .layers import dncnn


class _LU(nn.Module):
    channels = 3

    def __init__(self, args: Any, nlayers: int) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.ones(1) * args.eta)
        self.prox = dncnn(self.channels, self.channels, nlayers, normalised=False)


class LU_deconv(_LU):
    """`R(x - exp(eta) A^T (A x - y))` on [B, 1, T, X], A dense matrices [B, 1, T, T]."""

    channels = 1

    def forward(self, xk: Tensor, y: Tensor, A: Tensor) -> Tensor:
        return self.prox(xk - torch.exp(self.eta) * (A.mT @ (A @ xk - y)))


class LU_deconv_defog(_LU):
    """`R(x - exp(eta) (x - y))` on [B, 3, H, W]: the nominal model is the identity."""

    def forward(self, xk: Tensor, y: Tensor) -> Tensor:
        return self.prox(xk - torch.exp(self.eta) * (xk - y))


class LU_deblur(_LU):
    """`R(x - exp(eta) A A x - A y)` on [B, 3, H, W], A any callable.

    The bracket is where the authors' code has it; `R(x - exp(eta) (A A x - A y))` was meant. See aafast.RobustLU.
    """

    def forward(self, xk: Tensor, y: Tensor, Ak: Any) -> Tensor:
        return self.prox(xk - torch.exp(self.eta) * Ak(Ak(xk)) - Ak(y))

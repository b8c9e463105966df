"""Robust LU: a loop-unrolled proximal gradient method that trusts A0 (eq. 3), as the authors run it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aafast.reference.networks import dncnn
from aafast.reference.physics import blur, convolve, convolve_adjoint


def deblur_gradient(x: Tensor, y: Tensor, A0: Tensor, step: Tensor) -> Tensor:
    """`x - step A A x - A y`: the bracket is misplaced, `x - step (A A x - A y)` was meant."""
    return x - step * blur(blur(x, A0), A0) - blur(y, A0)


def deconv_gradient(x: Tensor, y: Tensor, A0: Tensor, step: Tensor) -> Tensor:
    """`x - step A^T (A x - y)`."""
    return x - step * convolve_adjoint(convolve(x, A0) - y, A0)


def defog_gradient(x: Tensor, y: Tensor, A0: Tensor, step: Tensor) -> Tensor:
    """`x - step (x - y)`: the nominal model is the identity, the depth map is not used."""
    return x - step * (x - y)


GRADIENTS = {"deblur": deblur_gradient, "deconv": deconv_gradient, "defog": defog_gradient}


class RobustLU(nn.Module):
    """`x <- R(x - exp(eta) grad)` from x = y, a set number of times; x and y are [B, C, H, W]."""

    def __init__(self, task: str, channels: int, layers: int, eta: float) -> None:
        super().__init__()
        self.gradient = GRADIENTS[task]
        self.eta = nn.Parameter(torch.tensor([eta]))
        self.prox = dncnn(channels, channels, layers, normalised=False)

    def run(self, y: Tensor, A0: Tensor, iterations: int = 5) -> list[Tensor]:
        """Return the iterates x_1 .. x_K, each [B, C, H, W]."""
        xs = [y]
        for _ in range(iterations):
            xs.append(self.prox(self.gradient(xs[-1], y, A0, self.eta.exp())))
        return xs[1:]

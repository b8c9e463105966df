"""Spectral normalisation of convolutions: the operator norm to convergence, once, then frozen."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The authors scale every normalised layer so that 17 of them contract by 0.3.
CONTRACTION = 0.3 ** (1 / 17)
_SIDE = 40
_TOLERANCE = 1e-6
_MAX_POWER_ITERATIONS = 500


@torch.no_grad()
def conv_operator_norm(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The norm of a zero-padded 3x3 convolution on 40x40 images, by power iteration from `u` until it settles.

    weight: [C_out, C_in, 3, 3]; u: [1, C_out, 40, 40]. Returns (sigma [], u). Stops at a relative change of 1e-6.
    """
    sigma = weight.new_zeros(())
    for _ in range(_MAX_POWER_ITERATIONS):
        v = F.normalize(F.conv_transpose2d(u, weight, padding=1).flatten(), dim=0, eps=1e-12)
        v = v.view(1, weight.shape[1], _SIDE, _SIDE)
        u = F.conv2d(v, weight, padding=1)
        previous, sigma = sigma, u.norm()
        u = u / sigma.clamp_min(1e-12)
        if abs(float(sigma - previous)) <= _TOLERANCE * float(sigma):
            break
    return sigma, u


class NormalisedConv2d(nn.Conv2d):
    """A 3x3 convolution whose weight is W c / sigma(W), c = 0.3^(1/17).

    sigma is found to convergence by `refresh`, which the model calls before a solve and which does nothing while the
    weight is unchanged; within a solve it is a constant. Gradients of training flow through sigma with its singular
    vectors held fixed.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False, **options: Any) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, **options)
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(1, out_channels, _SIDE, _SIDE, generator=generator)
        self.register_buffer("u", F.normalize(u.flatten(), dim=0).view_as(u), persistent=False)
        self.register_buffer("sigma", torch.ones(()), persistent=False)
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Bring sigma up to date with the weight."""
        seen = (self.weight.data_ptr(), self.weight._version)
        if seen != self._seen:
            self.sigma, self.u = conv_operator_norm(self.weight.detach(), self.u.to(self.weight))
            self._seen = seen

    def effective_weight(self) -> Tensor:
        """The normalised weight [C_out, C_in, 3, 3]."""
        sigma = self.sigma
        if torch.is_grad_enabled() and self.weight.requires_grad:
            v = F.conv_transpose2d(self.u, self.weight.detach(), padding=1)
            v = F.normalize(v.flatten(), dim=0).view_as(v)
            sigma = (self.u * F.conv2d(v, self.weight, padding=1)).sum()
        return self.weight * (CONTRACTION / sigma)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective_weight(), self.bias, padding=1)


def refresh(module: nn.Module) -> None:
    """Refresh every normalised convolution below `module`."""
    for layer in module.modules():
        if isinstance(layer, NormalisedConv2d):
            layer.refresh()

"""Mismatch networks and proximal networks of the adaptive scripts, under the authors' names.

Names, arguments and states (`state_dict`) are theirs. `_sn` marks live spectral normalisation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError, describe
from .layers import WIDTH, SpectralLinear, Stack, dncnn, stack

_TAPS, _SIZE = 51, (128, 50)
_COLUMN = 20  # of the matrix A0, which holds the wavelet from its sixth sample on: five are cut, as in their runs


def _check_conv(args: Any) -> None:
    sizes = (getattr(args, "kernel_size", 3), getattr(args, "padding", 1))
    if sizes != (3, 1):
        raise InputError(describe("kernel_size and padding", sizes, "3 and 1", "Use those of the published scripts"))


def _step(x: Tensor, z: Tensor, y: Tensor, eta: Tensor) -> Tensor:
    """`[x - exp(eta) (x - z), y]`, [B, 2C, H, W]."""
    return torch.cat([x - torch.exp(eta) * (x - z), y], dim=1)


class _BlurMismatch(nn.Module):
    normalised = False

    def __init__(self, args: Any, nlayers: int) -> None:
        super().__init__()
        self.data_layer = dncnn(3, 1, nlayers, self.normalised)

    def forward(self, xk: Tensor, A0: Any) -> tuple[Tensor, Tensor]:
        y0 = A0(xk)
        return y0, y0 + self.data_layer(y0)


class netA_deblur(_BlurMismatch):
    """`(A0 x, A0 x + f(A0 x))`, A0 any callable on [B, 3, H, W]; f has one output channel, added to all three."""


class netA_deblur_sn(_BlurMismatch):
    """`netA_deblur` under live spectral normalisation."""

    normalised = True


class _KernelMismatch(nn.Module):
    normalised = False

    def __init__(self, args: Any, nlayers: int) -> None:
        super().__init__()
        self.data_layer = dncnn(2, 1, nlayers, self.normalised)
        pixels = _SIZE[0] * _SIZE[1]
        linear = SpectralLinear if self.normalised else nn.Linear
        self.feature_layer = nn.Sequential(
            linear(_TAPS, pixels // 4), nn.BatchNorm1d(pixels // 4), nn.GELU(),
            linear(pixels // 4, pixels), nn.BatchNorm1d(pixels),
        )

    def features(self, A0: Tensor) -> Tensor:
        """The second input plane [B, 1, 128, 50], from the wavelets in A0."""
        return self.feature_layer(A0[:, 0, :_TAPS, _COLUMN]).reshape(-1, 1, *_SIZE)

    def forward(self, xk: Tensor, A0: Tensor) -> tuple[Tensor, Tensor]:
        y0 = A0 @ xk
        return y0, y0 + self.data_layer(torch.cat([y0, self.features(A0)], dim=1))


class netA_kernel(_KernelMismatch):
    """`(A0 x, A0 x + f([A0 x, MLP of the wavelet]))`, x [B, 1, 128, 50], A0 dense matrices [B, 1, 128, 128]."""


class netA_kernel_sn(_KernelMismatch):
    """`netA_kernel` under live spectral normalisation."""

    normalised = True


class _FogMismatch(nn.Module):
    normalised = False

    def __init__(self, args: Any) -> None:
        super().__init__()
        _check_conv(args)
        self.light_layer = stack([3, WIDTH, WIDTH, 3], [True, True], self.normalised, bias=True)
        self.trans_layer = stack([1, WIDTH, 3], [True], self.normalised, bias=True)

    def forward(self, xk: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
        transmission = torch.sigmoid(self.trans_layer(D))
        return xk, xk * transmission + self.light_layer(xk) * (1 - transmission)


class netA_foggy(_FogMismatch):
    """`(x, x T + L (1 - T))`: transmission T of the depth D [B, 1, H, W], airlight L of x [B, 3, H, W]."""


class netA_fogging_sn(_FogMismatch):
    """`netA_foggy` under live spectral normalisation."""

    normalised = True


class _Prox(nn.Module):
    channels, normalised = 3, False
    R: Stack

    def __init__(self, args: Any, nlayers: int) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.ones(1) * args.eta)
        self.R = dncnn(2 * self.channels, self.channels, nlayers, self.normalised)


class _SectionProx(_Prox):
    channels = 1

    def forward(self, zk: Tensor, xk: Tensor, y: Tensor) -> Tensor:
        return self.R(_step(zk, xk, y, self.eta))


class proxNet_deconv(_SectionProx):
    """`R([z - exp(eta) (z - x), y])` on sections [B, 1, H, W]."""


class proxNet_deconv_sn(_SectionProx):
    """`proxNet_deconv` under live spectral normalisation."""

    normalised = True


class _FogProx(_Prox):
    def __init__(self, nlayers: int, args: Any) -> None:
        super().__init__(args, nlayers)

    def forward(self, zk: Tensor, xk: Tensor, y: Tensor) -> Tensor:
        return self.R(_step(zk, xk, y, self.eta))


class proxNet_fog(_FogProx):
    """`R([z - exp(eta) (z - x), y])` on colour images [B, 3, H, W]; nlayers comes first."""


class proxNet_fog_sn(_FogProx):
    """`proxNet_fog` under live spectral normalisation."""

    normalised = True


class _BlurProx(_Prox):
    def forward(self, Xk: Tensor, Zk: Tensor, y: Tensor) -> Tensor:
        return self.R(_step(Xk, Zk, y, self.eta))


class proxNet_deblur(_BlurProx):
    """`R([X - exp(eta) (X - Z), y])` on colour images [B, 3, H, W]."""


class proxNet_deblur_sn(_BlurProx):
    """`proxNet_deblur` under live spectral normalisation."""

    normalised = True

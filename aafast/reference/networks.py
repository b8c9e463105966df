"""The proximal network R_rho and the three mismatch networks, parameters named as in the golden files."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aafast.reference.physics import blur, convolve
from aafast.reference.spectral_norm import SpectralConv2d, initialise

WIDTH = 64
GROUPS = 4


def _conv(channels_in: int, channels_out: int, normalised: bool, bias: bool = False) -> nn.Module:
    if normalised:
        return SpectralConv2d(channels_in, channels_out, bias)
    layer = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)
    initialise(layer.weight, layer.bias)
    return layer


def _linear(features_in: int, features_out: int, normalised: bool) -> nn.Module:
    layer = nn.Linear(features_in, features_out)
    return nn.utils.spectral_norm(layer) if normalised else layer


def dncnn(channels_in: int, channels_out: int, layers: int, normalised: bool) -> nn.Sequential:
    """Stack 3x3 convolutions of 64 channels with GroupNorm(4) and GELU; no bias.

    The first convolution has no GroupNorm after it, the last neither GroupNorm nor GELU.
    """
    stack: list[nn.Module] = [_conv(channels_in, WIDTH, normalised), nn.GELU()]
    for _ in range(layers - 2):
        stack += [_conv(WIDTH, WIDTH, normalised), nn.GroupNorm(GROUPS, WIDTH), nn.GELU()]
    return nn.Sequential(*stack, _conv(WIDTH, channels_out, normalised))


class ProximalNetwork(nn.Module):
    """Third line of eq. 7, `R([x - exp(eta) (x - z), y])`; x, z and y are [B, C, H, W]."""

    def __init__(self, channels: int, layers: int, eta: float, normalised: bool) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.tensor([eta]))
        self.R = dncnn(2 * channels, channels, layers, normalised)

    def forward(self, x: Tensor, z: Tensor, y: Tensor) -> Tensor:
        return self.R(torch.cat([x - self.eta.exp() * (x - z), y], dim=1))


class DeblurMismatch(nn.Module):
    """`y_hat(z) = A0 z + f(A0 z)`, one residual image broadcast to the three colours."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.data_layer = dncnn(3, 1, 3, normalised)

    @staticmethod
    def forward_model(z: Tensor, A0: Tensor) -> Tensor:
        return blur(z, A0)

    def forward(self, z: Tensor, A0: Tensor) -> Tensor:
        blurred = blur(z, A0)
        return blurred + self.data_layer(blurred)


class DeconvMismatch(nn.Module):
    """`y_hat(z) = A0 z + f([A0 z, features of the wavelet])`; 128 samples by 50 traces, nothing else fits.

    The features are an MLP 51 -> 1600 -> 6400 with BatchNorm1d (no activation after the second), of rows 0
    to 50 of column 20 of the matrix: that column holds the wavelet from its sixth sample on, five are cut.
    In the z-step BatchNorm uses its running statistics, in the theta-step those of the batch.
    """

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.feature_layer = nn.Sequential(
            _linear(51, 1600, normalised), nn.BatchNorm1d(1600), nn.GELU(),
            _linear(1600, 6400, normalised), nn.BatchNorm1d(6400),
        )
        self.data_layer = dncnn(2, 1, 3, normalised)

    @staticmethod
    def forward_model(z: Tensor, A0: Tensor) -> Tensor:
        return convolve(z, A0)

    def forward(self, z: Tensor, A0: Tensor) -> Tensor:
        convolved = convolve(z, A0)
        features = self.feature_layer(A0[:, 0, :51, 20]).view(-1, 1, 128, 50)
        return convolved + self.data_layer(torch.cat([convolved, features], dim=1))


class DefogMismatch(nn.Module):
    """`y_hat(z) = z T + L (1 - T)`: transmission T of the depth, airlight L of z; the nominal model is 1."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        self.trans_layer = nn.Sequential(
            _conv(1, WIDTH, normalised, bias=True), nn.GroupNorm(GROUPS, WIDTH), nn.GELU(),
            _conv(WIDTH, 3, normalised, bias=True),
        )
        self.light_layer = nn.Sequential(
            _conv(3, WIDTH, normalised, bias=True), nn.GroupNorm(GROUPS, WIDTH), nn.GELU(),
            _conv(WIDTH, WIDTH, normalised, bias=True), nn.GroupNorm(GROUPS, WIDTH), nn.GELU(),
            _conv(WIDTH, 3, normalised, bias=True),
        )

    @staticmethod
    def forward_model(z: Tensor, A0: Tensor) -> Tensor:
        return z

    def forward(self, z: Tensor, A0: Tensor) -> Tensor:
        T = torch.sigmoid(self.trans_layer(A0))
        return z * T + self.light_layer(z) * (1 - T)

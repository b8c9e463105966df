"""The blurs of the authors' scripts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ... import physics
from ...errors import InputError, describe
from ...nets.spectral_norm import Written


class GaussianBlur(nn.Module):
    """Blur [B, n_channels, H, W] by a normalised Gaussian of width sigma pixels, zero padding, same size.

    `gaussian_kernel` is [n_channels, 1, kernel_size, kernel_size], a parameter that does not learn; kernel_size is odd.
    Raises InputError on a kernel that cannot be built and on images that do not fit it.
    """

    def __init__(
        self, sigma: float, kernel_size: int = 5, n_channels: int = 1, n_spatial_dimensions: int = 2
    ) -> None:
        super().__init__()
        if n_spatial_dimensions != 2:
            raise InputError(describe("n_spatial_dimensions", n_spatial_dimensions, "2", "Blur images"))
        self.groups, self.padding = n_channels, kernel_size // 2
        kernel = self.create_gaussian_kernel(sigma, kernel_size, n_channels)
        self.gaussian_kernel = nn.Parameter(kernel, requires_grad=False)
        self._made: tuple[Written, physics.GaussianBlur] | None = None

    def create_gaussian_kernel(self, sigma: float, kernel_size: int, n_channels: int) -> Tensor:
        """`exp(-(i^2 + j^2) / (2 sigma^2))` over its sum, for every channel."""
        kernel = physics.gaussian_kernel(int(kernel_size), float(sigma) ** 2)
        return kernel.expand(n_channels, 1, -1, -1).clone()

    @property
    def model(self) -> physics.GaussianBlur:
        """The package's forward model with this kernel, made again where the kernel has been written to."""
        kernel = self.gaussian_kernel
        if kernel.requires_grad:
            return physics.GaussianBlur(kernel[:, 0])
        if self._made is None or not self._made[0].is_still(kernel):
            self._made = Written.now(kernel), physics.GaussianBlur(kernel.detach()[:, 0])
        return self._made[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.model.A(x)


class noisyGaussianBlur(GaussianBlur):
    """`GaussianBlur` whose kernel carries white noise of 0.001."""

    def create_gaussian_kernel(self, sigma: float, kernel_size: int, n_channels: int) -> Tensor:
        kernel = super().create_gaussian_kernel(sigma, kernel_size, n_channels)
        return kernel + 0.001 * torch.randn_like(kernel)

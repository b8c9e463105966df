"""Blur of an image by a small kernel per channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import COMPUTE_DTYPES
from ..errors import InputError, describe
from .base import ForwardModel


def gaussian_kernel(size: int, variance: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """The normalised Gaussian exp(-(i^2 + j^2) / (2 variance)) on size x size pixels (size odd): [size, size]."""
    if size < 1 or size % 2 == 0:
        raise InputError(describe("size of the blur kernel", size, "an odd number of pixels", "Add or drop one"))
    if not variance > 0:
        raise InputError(describe("variance of the blur", variance, "a positive number (pixels squared)", "Raise it"))
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    line = torch.exp(-axis.square() / (2 * variance))
    kernel = line[:, None] * line[None, :]
    return (kernel / kernel.sum()).to(dtype)


class GaussianBlur(ForwardModel):
    """Blur by a Gaussian kernel, or by any odd kernel per channel, with zero padding.

    (A x)[c, i, j] = sum_ab k[c, a, b] x[c, i + a - K // 2, j + b - K // 2] (cross-correlation; paper section 6).

    kernel: [K, K] for all channels, [C, K, K], or [B, C, K, K] for one per sample; build it by `gaussian_kernel`
    or pass `size` and `variance` (pixels squared). Acts on [B, C, H, W]; raises InputError on a bad kernel.
    """

    def __init__(self, kernel: Tensor | None = None, *, size: int = 5, variance: float = 7.0) -> None:
        kernel = gaussian_kernel(size, variance) if kernel is None else kernel
        if not isinstance(kernel, Tensor) or kernel.dtype not in COMPUTE_DTYPES or kernel.ndim not in (2, 3, 4):
            got = f"{kernel.dtype} {list(kernel.shape)}" if isinstance(kernel, Tensor) else type(kernel).__name__
            raise InputError(
                describe("blur kernel", got, "float32 or float64 [K, K], [C, K, K] or [B, C, K, K]", "Convert it")
            )
        if kernel.shape[-1] != kernel.shape[-2] or kernel.shape[-1] % 2 == 0 or not torch.isfinite(kernel).all():
            raise InputError(
                describe(
                    "blur kernel",
                    f"{list(kernel.shape)}, finite: {bool(torch.isfinite(kernel).all())}",
                    "a finite square kernel of odd size",
                    "Pad the kernel with zeros",
                )
            )
        self.kernel = kernel.reshape((1,) * (4 - kernel.ndim) + tuple(kernel.shape))

    def _weight(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        if self.kernel.shape[0] not in (1, batch) or self.kernel.shape[1] not in (1, channels):
            raise InputError(
                describe(
                    "blur kernel",
                    list(self.kernel.shape),
                    f"[1 or {batch}, 1 or {channels}, K, K] for images {list(x.shape)}",
                    "Match the batch",
                )
            )
        return self.kernel.expand(batch, channels, -1, -1).reshape(batch * channels, 1, *self.kernel.shape[2:])

    def _correlate(self, x: Tensor, weight: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        stacked = x.reshape(1, batch * channels, height, width)
        return F.conv2d(stacked, weight, padding=weight.shape[-1] // 2, groups=batch * channels).reshape(x.shape)

    def A(self, x: Tensor) -> Tensor:
        return self._correlate(x, self._weight(x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self._correlate(y, self._weight(y).flip(2, 3))

    def norm(self, x: Tensor) -> Tensor:
        """The bound max_f |K(f)| over channels per sample [B]; it is reached as the image grows."""
        side = 8 * self.kernel.shape[-1]
        spectrum = torch.fft.rfft2(self.kernel, s=(side, side)).abs()
        return spectrum.amax(dim=(1, 2, 3)).expand(len(x))

    def features(self) -> Tensor:
        """The kernels [1 or B, 1 or C, K, K]."""
        return self.kernel

    def select(self, index: int) -> GaussianBlur:
        return self if len(self.kernel) == 1 else GaussianBlur(self.kernel[index : index + 1])

    def tensors(self) -> dict[str, Tensor]:
        return {"kernel": self.kernel}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> GaussianBlur:
        moved = self.kernel.to(device=device, dtype=dtype)
        return self if moved is self.kernel else GaussianBlur(moved)

"""The nominal forward models A0 as the authors store and apply them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Cross-correlate each channel of x [B, C, H, W] with kernel [C, 1, k, k], zero outside, same size."""
    return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=x.shape[1])


def convolve(x: Tensor, matrix: Tensor) -> Tensor:
    """Convolve the traces of x [B, 1, T, X] with a wavelet given as a dense matrix [B, 1, T, T]: `A x`."""
    return matrix @ x


def convolve_adjoint(y: Tensor, matrix: Tensor) -> Tensor:
    """Correlate the traces of y [B, 1, T, X] with the wavelet: `A^T y`."""
    return matrix.transpose(-1, -2) @ y

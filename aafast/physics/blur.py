"""Blur of an image by a small kernel per channel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import COMPUTE_DTYPES
from ..errors import InputError, describe
from ..ops import correlate_planes, correlate_separable
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


# Largest sum of |kernel - column row| over the sum of |kernel| that is taken for rank one: this bounds the error of an
# image over sum |kernel| max |x|. Half of what the answer may move; the other half is left to rounding.
RANK_ONE = {torch.float32: 5e-7, torch.float64: 5e-14}


class Factors(NamedTuple):
    """column, row [S, C, K]; fits [S]: the samples whose kernels are column[a] row[b] to rounding; whether all are."""

    column: Tensor
    row: Tensor
    fits: Tensor
    all_fit: bool


def _rank_one(kernel: Tensor) -> Factors | None:
    """The factors of kernels [S, C, K, K], or None where no sample's are of rank one.

    They are the column and the row through the largest element: for a product of two factors this is exact up to
    the rounding of that product.
    """
    exact = kernel.detach().double()
    size = kernel.shape[-1]
    largest = exact.abs().flatten(2).argmax(2)[..., None]
    column = exact.gather(3, (largest % size)[..., None].expand(-1, -1, size, 1))[..., 0]
    row = exact.gather(2, (largest // size)[..., None].expand(-1, -1, 1, size))[:, :, 0]
    pivot = exact.flatten(2).gather(2, largest)
    row = row / torch.where(pivot == 0, 1, pivot)
    column, row = column.to(kernel.dtype), row.to(kernel.dtype)
    rest = (column.double()[..., None] * row.double()[:, :, None] - exact).abs().sum((2, 3))
    fits = (rest <= RANK_ONE[kernel.dtype] * exact.abs().sum((2, 3))).all(1)
    return _chosen(column, row, fits)


def _chosen(column: Tensor, row: Tensor, fits: Tensor) -> Factors | None:
    return Factors(column, row, fits, bool(fits.all())) if bool(fits.any()) else None


class GaussianBlur(ForwardModel):
    """Blur by a Gaussian kernel, or by any odd kernel per channel, with zero padding.

    (A x)[c, i, j] = sum_ab k[c, a, b] x[c, i + a - K // 2, j + b - K // 2] (cross-correlation; paper section 6).

    kernel: [K, K] for all channels, [C, K, K], or [B, C, K, K] for one per sample; build it by `gaussian_kernel`
    or pass `size` and `variance` (pixels squared). Acts on [B, C, H, W]; raises InputError on a bad kernel.
    A kernel of rank one to rounding (`RANK_ONE`), as a Gaussian, acts as a column times a row.
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
        if kernel.is_inference():
            kernel = kernel.clone()  # later writes into the caller's tensor could not be told
        kernel = kernel.reshape((1,) * (4 - kernel.ndim) + tuple(kernel.shape))
        self._hold(kernel, None if kernel.requires_grad else _rank_one(kernel))

    @classmethod
    def unchecked(cls, kernel: Tensor) -> GaussianBlur:
        """The model of kernels [1 or B, 1 or C, K, K] that a solver has moved: their values are not looked at."""
        model = cls.__new__(cls)
        model._hold(kernel, None if kernel.requires_grad else _rank_one(kernel))
        return model

    def _hold(self, kernel: Tensor, factors: Factors | None) -> None:
        self.kernel, self._factors = kernel, factors
        self._version = 0 if kernel.is_inference() else kernel._version

    def _separated(self) -> Factors | None:
        """The factors, unless the kernel was written to or began to record gradients since they were found."""
        if torch.compiler.is_compiling():
            return None  # a graph cannot tell whether the kernel was written to
        kernel = self.kernel
        same = not kernel.requires_grad and (kernel.is_inference() or kernel._version == self._version)
        return self._factors if same else None

    def _check(self, x: Tensor) -> None:
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

    def _correlate(self, x: Tensor, turned: bool) -> Tensor:
        self._check(x)
        factors = self._separated()
        if factors is not None:
            pair = (factors.column, factors.row)
            product = correlate_separable(x, *((part.flip(2) for part in pair) if turned else pair))
            if factors.all_fit:
                return product
        whole = correlate_planes(x, self.kernel.flip(2, 3) if turned else self.kernel)
        # Each sample as it would be alone, so that its answer does not depend on its batch.
        return whole if factors is None else torch.where(factors.fits[:, None, None, None], product, whole)

    def A(self, x: Tensor) -> Tensor:
        return self._correlate(x, turned=False)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self._correlate(y, turned=True)

    def norm(self, x: Tensor) -> Tensor:
        """The bound max_f |K(f)| over channels per sample [B]; it is reached as the image grows."""
        side = 8 * self.kernel.shape[-1]
        spectrum = torch.fft.rfft2(self.kernel, s=(side, side)).abs()
        return spectrum.amax(dim=(1, 2, 3)).expand(len(x))

    def features(self) -> Tensor:
        """The kernels [1 or B, 1 or C, K, K]."""
        return self.kernel

    def select(self, index: int) -> GaussianBlur:
        return self.take(torch.tensor([index]))

    def take(self, index: Tensor) -> GaussianBlur:
        if len(self.kernel) == 1:
            return self
        found = self._separated()
        model = GaussianBlur.__new__(GaussianBlur)
        model._hold(self.kernel[index], None if found is None else _chosen(*(part[index] for part in found[:3])))
        return model

    def tensors(self) -> dict[str, Tensor]:
        return {"kernel": self.kernel}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> GaussianBlur:
        moved = self.kernel.to(device=device, dtype=dtype)
        return self if moved is self.kernel else GaussianBlur(moved)

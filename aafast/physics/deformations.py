"""Families of forward models round a nominal one: what a calibration may change, and what it looks at.

A deformation turns a nominal model and a few numbers per sample into another model of its kind; zero numbers give the
nominal model back. The image of a point under it is differentiable in these numbers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError, describe
from .base import ForwardModel
from .blur import GaussianBlur
from .haze import Haze
from .wavelet import WaveletConvolution


class Deformation:
    """A family of forward models with `size` numbers per sample, for images of `channels` channels.

    `images` and `numbers` say how many channels and numbers `evidence` returns.
    """

    kind: type[ForwardModel]

    def __init__(self, channels: int) -> None:
        self.channels, self.size, self.images, self.numbers = channels, 1, 2 * channels, 0

    def fits(self, A0: ForwardModel) -> bool:
        """Whether A0 belongs to a model that this family can deform."""
        return isinstance(A0, self.kind)

    def start(self, A0: ForwardModel, samples: int) -> Tensor:
        """The numbers of the nominal model: zeros [samples, size]."""
        parameter = next(iter(A0.tensors().values()))
        return torch.zeros(samples, self.size, dtype=parameter.dtype, device=parameter.device)

    def deform(self, A0: Any, numbers: Tensor) -> ForwardModel:
        """The model of `numbers` [B, size]."""
        raise InputError(describe("deformation", type(self).__name__, "a family with its own deform", "Define it"))

    def view(self, A: Any, x: Tensor, y: Tensor) -> Tensor:
        """What a model makes of a pair (x, y), for the comparison of two: A x, unless a family knows better."""
        return A.A(x)

    def evidence(self, A: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """What shows how far A is from the model that made y: images [B, images, H, W] and numbers [B, numbers]."""
        raise InputError(describe("deformation", type(self).__name__, "a family with its own evidence", "Define it"))


class WaveletDeformation(Deformation):
    """Stretch in log frequency a, constant phase b and log exponent c of the amplitude spectrum.

    W'(f) = W(f e^-a) (|W| / max |W|)^(e^c - 1) e^ib, at the norm of w. For a Ricker wavelet of any length these are its
    frequency, phase and length.
    """

    kind = WaveletConvolution
    GRID, FLOOR, DAMPING = 128, 1e-4, 0.2

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.size, self.images, self.numbers = 3, 4, 2 * (self.GRID // 2 + 1)

    def deform(self, A0: WaveletConvolution, numbers: Tensor) -> WaveletConvolution:
        w = A0.wavelet
        grid = max(self.GRID, 1 << w.shape[1].bit_length())
        time = torch.arange(w.shape[1], device=w.device, dtype=w.dtype) - w.shape[1] // 2
        frequency = torch.arange(grid // 2 + 1, device=w.device, dtype=w.dtype) / grid
        stretch, phase, exponent = numbers.split(1, dim=1)
        read = frequency * torch.exp(-stretch)
        angle = 2 * math.pi * read[:, :, None] * time
        real, imaginary = ((w[:, None] * part).sum(2) for part in (angle.cos(), -angle.sin()))
        size = (real.square() + imaginary.square() + 1e-20).sqrt()
        relative = (size / size.amax(1, keepdim=True)).clamp_min(self.FLOOR)
        gain = torch.exp(torch.expm1(exponent) * relative.log()) * (read <= 0.5)
        gain = gain * torch.where((frequency == 0) | (frequency == 0.5), 1.0, 2.0) / grid
        turned = gain * (real * phase.cos() - imaginary * phase.sin())
        other = gain * (real * phase.sin() + imaginary * phase.cos())
        back = 2 * math.pi * frequency[:, None] * time
        taps = turned @ back.cos() - other @ back.sin()
        norm = w.norm(dim=1, keepdim=True) / taps.norm(dim=1, keepdim=True).clamp_min(1e-20)
        return WaveletConvolution.unchecked(taps * norm)

    def evidence(self, A: WaveletConvolution, y: Tensor) -> tuple[Tensor, Tensor]:
        scale = _rms(y)
        data = y / scale
        z = A.solve_normal(A.A_adjoint(data), self.DAMPING)
        z = z / _rms(z)
        # At a lone reflection the phase of the analytic signal is that of the wavelet which is left in z.
        length = z.shape[2]
        spectrum = torch.fft.fft(F.pad(z, (0, 0, 0, length + length % 2)), dim=2)
        half = spectrum.shape[2] // 2
        spectrum[:, :, 1:half] *= 2
        spectrum[:, :, half + 1 :] = 0
        analytic = torch.fft.ifft(spectrum, dim=2)[:, :, :length]
        twice = analytic.square() / analytic.abs().clamp_min(1e-6)
        images = torch.cat([z, data, twice.real, twice.imag], dim=1)
        power = torch.fft.rfft(data[:, 0], n=max(self.GRID, length), dim=1).abs().square().mean(2)
        power = F.interpolate(power[:, None], size=self.GRID // 2 + 1, mode="linear", align_corners=True)[:, 0]
        told = torch.fft.rfft(A.wavelet, n=self.GRID).abs().square().expand(len(y), -1)
        return images, torch.cat([_log_shape(power), _log_shape(told)], dim=1)


class WidthDeformation(Deformation):
    """Standard deviation of a Gaussian blur: sigma' = sigma e^a."""

    kind = GaussianBlur

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.images, self.numbers = 2 * channels, 2

    def fits(self, A0: ForwardModel) -> bool:
        return isinstance(A0, GaussianBlur) and gaussian_variance(A0.kernel) is not None

    def deform(self, A0: GaussianBlur, numbers: Tensor) -> GaussianBlur:
        kernel = A0.kernel
        variance = gaussian_variance(kernel)
        if variance is None:
            raise InputError(describe("blur kernel to widen", list(kernel.shape), "a Gaussian", "Leave it as it is"))
        axis = torch.arange(kernel.shape[-1], device=kernel.device, dtype=kernel.dtype) - kernel.shape[-1] // 2
        line = torch.exp(-axis.square() / (2 * variance[:, None] * torch.exp(2 * numbers)))
        line = line / line.sum(1, keepdim=True)
        return GaussianBlur.unchecked((line[:, :, None] * line[:, None])[:, None])

    def evidence(self, A: GaussianBlur, y: Tensor) -> tuple[Tensor, Tensor]:
        # What a blur of the assumed width does to the data once more shows how much of it they have had.
        again = y - A.A(y)
        fine = _rms(y - F.avg_pool2d(F.pad(y, (1, 1, 1, 1), mode="replicate"), 3, 1))
        variance = gaussian_variance(A.kernel)
        assert variance is not None  # `fits` has looked
        width = 0.5 * variance.log()[:, None].expand(len(y), 1)
        return torch.cat([y, again / fine], dim=1), torch.cat([width, fine.flatten(1).log()], dim=1)


class HazeDeformation(Deformation):
    """Density and airlight of haze: beta' = beta e^a, L' = L + l per channel."""

    kind = Haze

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.size, self.images, self.numbers = 1 + channels, 2 * channels + 1, 1 + channels
        self.damping = 0.01

    def deform(self, A0: Haze, numbers: Tensor) -> Haze:
        beta = A0.beta * torch.exp(numbers[:, :1, None, None])
        return Haze.unchecked(A0.depth, beta, A0.airlight + numbers[:, 1:, None, None])

    def restored(self, A: Haze, y: Tensor) -> Tensor:
        """argmin_z ||A z - y||^2 + damping ||z - y||^2."""
        t = A.transmission
        return A.solve_normal(t * (y - A.airlight * (1 - t)) + self.damping * y, self.damping)

    def view(self, A: Haze, x: Tensor, y: Tensor) -> Tensor:
        # Where the haze is dense an error of the model hardly shows in A x, and most in what is restored.
        return self.restored(A, y)

    def evidence(self, A: Haze, y: Tensor) -> tuple[Tensor, Tensor]:
        z, t = self.restored(A, y), A.transmission
        t = t.expand(len(y), -1, -1, -1)
        airlight = A.airlight.flatten(1).expand(len(y), self.channels)
        return torch.cat([y, z, t], dim=1), torch.cat([t.mean((2, 3)), airlight], dim=1)


DEFORMATIONS: dict[str, type[Deformation]] = {
    "wavelet": WaveletDeformation,
    "width": WidthDeformation,
    "haze": HazeDeformation,
}


def gaussian_variance(kernel: Tensor) -> Tensor | None:
    """The variances [S] of Gaussian kernels [S, C, K, K], or None where one is of another form."""
    size = kernel.shape[-1]
    if size < 3:
        return None
    exact = kernel.detach().double()
    middle = size // 2
    ratio = (exact[:, :1, middle, middle] / exact[:, :1, middle, middle + 1])[:, 0]
    variance = 0.5 / ratio.log()
    axis = torch.arange(size, device=kernel.device, dtype=torch.float64) - middle
    line = torch.exp(-axis.square() / (2 * variance[:, None]))
    line = line / line.sum(1, keepdim=True)
    error = (exact - (line[:, :, None] * line[:, None])[:, None]).abs().amax()
    good = bool(((variance > 0) & variance.isfinite()).all()) and bool(error <= 1e-5 * exact.abs().amax())
    return variance.to(kernel.dtype) if good else None


def _rms(image: Tensor) -> Tensor:
    """Root mean square per sample, [B, 1, 1, 1]."""
    return image.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)


def _log_shape(power: Tensor) -> Tensor:
    """The logarithm of a power spectrum [B, F] relative to its mean, with a floor."""
    return (power / power.mean(1, keepdim=True).clamp_min(1e-20) + 1e-3).log()

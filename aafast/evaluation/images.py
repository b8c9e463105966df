"""Classical methods for images to stand against: deblurring by Wiener and Tikhonov, two ways of removing haze.

They work on batches [B, C, H, W] of images in 0..1, on any device, and take what the models are told. Each has
parameters that matter; `classical.py` chooses them on other pairs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import check_choice, check_image
from ..errors import InputError, describe
from ..physics import ForwardModel, GaussianBlur, Haze


def wiener_image(
    y: Tensor, A0: GaussianBlur, damping: float = 0.01, exponent: float = 2.0, outside: str = "taper"
) -> Tensor:
    """Wiener deconvolution of a blurred image in the Fourier domain.

    `X = conj(H) Y / (|H|^2 + damping (f / f_max)^exponent)` per channel; exponent 0 takes the image's spectrum for
    white, 2 for that of natural images. The image is continued by one kernel's width. "taper": its mean is taken off
    before, and what continues is tapered into its own periodic blur, so that the transform meets no edge. "zero": by
    zeros, for images that end in them. Source: Wiener 1949.

    Args:
        y: [B, C, H, W] the blurred image.
        A0: the blur that is assumed, per sample or shared.
        damping: noise power over image power at the highest frequency, above 0.
        exponent: of the image's spectrum, 0 or more.
        outside: "taper" or "zero", what is assumed to lie outside of the image.

    Returns:
        [B, C, H, W] of y's dtype.

    Raises:
        InputError: a parameter is out of range, or an image that cannot be used.
    """
    y = check_image("y", y)
    if not damping > 0 or exponent < 0:
        raise InputError(describe("Wiener's parameters", f"damping {damping}, exponent {exponent}",
                                  "a damping above 0 and an exponent of 0 or more", "Change them"))  # fmt: skip
    tapered = check_choice("what lies outside of the image", outside, ("taper", "zero")) == "taper"
    margin = A0.kernel.shape[-1]
    size = (y.shape[2] + 2 * margin, y.shape[3] + 2 * margin)
    response = _response(A0.kernel, size)
    level = y.mean((2, 3), keepdim=True) if tapered else y.new_zeros(())
    wide = F.pad(y - level, (margin,) * 4, mode="replicate" if tapered else "constant")
    if tapered:
        smooth = torch.fft.irfft2(torch.fft.rfft2(wide) * response, s=size)
        inside = _taper(size[0], margin, wide)[:, None] * _taper(size[1], margin, wide)[None, :]
        wide = inside * wide + (1 - inside) * smooth
    spectrum = torch.fft.rfft2(wide)
    rows, columns = torch.fft.fftfreq(size[0], device=y.device), torch.fft.rfftfreq(size[1], device=y.device)
    frequency = (rows[:, None].square() + columns[None, :].square()).sqrt().to(y.dtype) / 0.5**0.5
    noise = damping * frequency.clamp_min(1.0 / max(size)) ** exponent
    x = torch.fft.irfft2(response.conj() * spectrum / (response.abs().square() + noise), s=size)
    return x[..., margin:-margin, margin:-margin] + level


def tikhonov(y: Tensor, A0: ForwardModel, damping: float = 0.02, steps: int = 40) -> Tensor:
    """The x that minimises `|A0 x - y|^2 + damping |D x|^2`, D the differences of neighbours, by conjugate gradients.

    The Wiener estimate for a spectrum that falls with frequency squared, with A0 as it is at the image's borders, where
    the Fourier domain has to guess. Source: Tikhonov 1963; Hestenes and Stiefel 1952.

    Args:
        y: [B, C, H, W] the measurement.
        A0: a linear forward model, per sample or shared.
        damping: weight of the differences, above 0.
        steps: of conjugate gradients from zero, at least 1.

    Returns:
        [B, C, H, W] of y's dtype.

    Raises:
        InputError: a parameter is out of range, or an image that cannot be used.
    """
    y = check_image("y", y)
    if not damping > 0 or steps < 1 or not A0.linear:
        got = f"damping {damping}, {steps} steps, a {'linear' if A0.linear else 'nonlinear'} model"
        raise InputError(
            describe("Tikhonov's parameters", got, "a damping above 0, 1 step or more, a linear model", "Change them")
        )

    def normal(v: Tensor) -> Tensor:
        rough = torch.zeros_like(v)
        for axis in (2, 3):
            length = v.shape[axis] - 1
            step = v.diff(dim=axis)
            rough.narrow(axis, 1, length).add_(step)
            rough.narrow(axis, 0, length).sub_(step)
        return A0.A_adjoint(A0.A(v)) + damping * rough

    def energy(v: Tensor) -> Tensor:
        return v.square().sum((1, 2, 3), keepdim=True)

    tiny = torch.finfo(y.dtype).tiny
    residual = A0.A_adjoint(y)
    x, direction, size = torch.zeros_like(y), residual, energy(residual)
    for _ in range(steps):
        image = normal(direction)
        length = size / (direction * image).sum((1, 2, 3), keepdim=True).clamp_min(tiny)
        x, residual = x + length * direction, residual - length * image
        before, size = size, energy(residual)
        direction = residual + size / before.clamp_min(tiny) * direction
    return x


def dark_channel(y: Tensor, strength: float = 0.95, patch: int = 15, radius: int = 20, floor: float = 0.1) -> Tensor:
    """Haze removal by the dark channel prior, the transmission refined by a guided filter; it is told no haze.

    dark(I) = min over channels and over `patch` x `patch` pixels. Airlight L: of the 0.1 % of pixels with the largest
    dark channel, the brightest one. `t = 1 - strength dark(y / L)`, filtered with y's grey values as guide, and
    `x = (y - L) / max(t, floor) + L`. Source: He, Sun and Tang 2009, and their guided filter, 2010.

    Args:
        y: [B, 3, H, W] in 0..1, any number of channels.
        strength: share of the haze to remove (their omega), above 0 and up to 1.
        patch: side of the dark channel's window in pixels, odd.
        radius: of the guided filter's window in pixels.
        floor: least transmission, above 0.

    Returns:
        [B, 3, H, W] of y's dtype.

    Raises:
        InputError: a parameter is out of range, or an image that cannot be used.
    """
    y = check_image("y", y)
    if not 0 < strength <= 1 or patch % 2 == 0 or patch < 1 or radius < 1 or not floor > 0:
        got = f"strength {strength}, patch {patch}, radius {radius}, floor {floor}"
        raise InputError(
            describe(
                "parameters of the dark channel",
                got,
                "0 < strength <= 1, an odd patch, radius >= 1, floor > 0",
                "Change them",
            )
        )
    airlight = _airlight(y, _dark(y, patch))
    veil = 1 - strength * _dark(y / airlight, patch)
    t = guided_filter(y.mean(1, keepdim=True), veil, radius).clamp(floor, 1.0)
    return (y - airlight) / t + airlight


def guided_filter(guide: Tensor, image: Tensor, radius: int, ridge: float = 1e-3) -> Tensor:
    """The local linear filter `q = mean(a) I + mean(b)`, `a = cov(I, p) / (var(I) + ridge)`, `b = mean(p) - a mean(I)`.

    guide I and image p [B, 1, H, W]; means over (2 radius + 1)^2 pixels, fewer at the borders. Source: He, Sun and Tang
    2010.
    """

    def mean(part: Tensor) -> Tensor:
        for side, margin in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
            part = F.avg_pool2d(part, side, 1, margin, count_include_pad=False)
        return part

    mean_guide, mean_image = mean(guide), mean(image)
    a = (mean(guide * image) - mean_guide * mean_image) / (mean(guide.square()) - mean_guide.square() + ridge)
    return mean(a) * guide + mean(mean_image - a * mean_guide)


def invert_haze(y: Tensor, A0: Haze, floor: float = 0.1) -> Tensor:
    """`x = (y - L (1 - t)) / max(t, floor)`: the haze that is assumed, undone; y [B, C, H, W], floor above 0."""
    y = check_image("y", y)
    if not floor > 0:
        raise InputError(describe("floor of the transmission", floor, "above 0", "Pass for example 0.1"))
    haze = A0.A(torch.zeros_like(y))
    return (y - haze) / A0.transmission.clamp_min(floor)


def _response(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Transfer function of the correlation with kernels [S, C, K, K] on periodic images of this size."""
    taps = kernel.shape[-1]
    if taps > min(size):
        raise InputError(describe("size of the image", list(size), f"at least {taps} pixels", "Pass larger images"))
    padded = F.pad(kernel, (0, size[1] - taps, 0, size[0] - taps))
    return torch.fft.rfft2(padded.roll((-(taps // 2), -(taps // 2)), (2, 3))).conj()


def _taper(length: int, margin: int, like: Tensor) -> Tensor:
    """1 inside and down to 0 over `margin` pixels at each end [length]."""
    rise = torch.sin((torch.arange(margin, dtype=like.dtype, device=like.device) + 0.5) / margin * torch.pi / 2) ** 2
    return torch.cat([rise, rise.new_ones(length - 2 * margin), rise.flip(0)])


def _dark(image: Tensor, patch: int) -> Tensor:
    """Least value over channels and a window [B, 1, H, W]; nothing lies outside the image."""
    columns = F.max_pool2d(-image.amin(1, keepdim=True), (patch, 1), 1, (patch // 2, 0))
    return -F.max_pool2d(columns, (1, patch), 1, (0, patch // 2))


def _airlight(y: Tensor, dark: Tensor) -> Tensor:
    """Colour of the brightest pixel among the 0.1 % of largest dark channel [B, C, 1, 1]."""
    pixels, light = y.flatten(2), y.sum(1).flatten(1)
    count = max(1, round(0.001 * pixels.shape[2]))
    hazy = dark.flatten(1).topk(count, dim=1).indices
    brightest = hazy.gather(1, light.gather(1, hazy).argmax(1, keepdim=True))
    found = pixels.gather(2, brightest[:, None].expand(-1, pixels.shape[1], 1))
    return found[..., None].clamp_min(0.05)

"""How near an estimate is to the truth, one number per sample, with the peak, range and scale stated.

Every function takes the truth x and the estimate [B, ...] (arrays or tensors, real, the same shape; one
section is `section[None]`), computes in float64 and returns [B] float64. No input divides by zero: what a
dead or constant sample gives is stated with each function. Wrong shapes raise InputError.

Deconvolution leaves the scale open (a wavelet twice as large is a reflectivity half as large). Nothing is
rescaled silently: `fit_scale` gives the least-squares factor and `compare` says which it used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError, describe

SCALES = ("none", "least-squares")


def fit_scale(truth: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Factor a that minimises |x - a e|^2, `a = <x, e> / <e, e>`; 0 where the estimate is zero.

    It may be negative: an estimate of the wrong polarity is not hidden but shows in `correlation`.
    """
    x, e = _pair(truth, estimate)
    return _ratio(_dot(x, e), _dot(e, e), 0.0)


def mse(truth: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Mean squared error, `mean (x - e)^2`."""
    x, e = _pair(truth, estimate)
    return np.square(x - e).mean(1)


def psnr(truth: ArrayLike, estimate: ArrayLike, peak: float | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, `10 log10(peak^2 / mean (x - e)^2)`; the peak of None is max |x| of the sample.

    A perfect estimate gives inf; a wrong one of a dead truth gives -inf.
    """
    x, e = _pair(truth, estimate)
    highest = np.abs(x).max(1) if peak is None else np.full(len(x), float(peak))
    return _decibel(highest**2, np.square(x - e).mean(1))


def snr(truth: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Signal-to-noise ratio in dB, `10 log10(|x|^2 / |x - e|^2)`; extremes as in `psnr`."""
    x, e = _pair(truth, estimate)
    return _decibel(_dot(x, x), _dot(x - e, x - e))


def correlation(truth: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Correlation at lag zero, `gamma = <x, e> / (|x| |e|)`, means not removed; 0 where either is zero."""
    x, e = _pair(truth, estimate)
    return _ratio(_dot(x, e), np.sqrt(_dot(x, x)) * np.sqrt(_dot(e, e)), 0.0)


def quality(truth: ArrayLike, estimate: ArrayLike) -> np.ndarray:
    """Reconstruction quality in dB, `Q = 10 log10(|x|^2 / |x - p|^2)`, p the projection of x on the estimate.

    It does not depend on the estimate's scale or sign: `Q = -10 log10(1 - gamma^2)`. 0 where either is zero.
    """
    x, e = _pair(truth, estimate)
    residual = x - fit_scale(x, e)[:, None] * e
    energy = _dot(x, x)
    return np.where(energy > 0, _decibel(energy, _dot(residual, residual)), 0.0)


def ssim(truth: ArrayLike, estimate: ArrayLike, sigma: float = 1.5, span: float | None = None) -> np.ndarray:
    """Structural similarity of images, averaged over all whole windows and over the channels.

    `(2 mx me + C1)(2 cov + C2) / ((mx^2 + me^2 + C1)(vx + ve + C2))` under an 11 x 11 Gaussian window (the
    largest odd one that fits a smaller image), C1 = (0.01 L)^2, C2 = (0.03 L)^2, L the span. Without a span a constant
    truth gives 1 if the estimate equals it and 0 otherwise.

    Args:
        truth, estimate: [B, T, X] or [B, C, T, X]; every channel counts by itself.
        sigma: width of the window in pixels.
        span: the range L of the images, above 0; None: max x - min x of the sample over all its channels.

    Returns:
        [B], at most 1.
    """
    flat, other = _pair(truth, estimate)
    shape = np.shape(truth)
    if len(shape) not in (3, 4):
        raise InputError(describe("shape for ssim", shape, "[B, T, X] or [B, C, T, X]", "Pass images"))
    if span is not None and not span > 0:
        raise InputError(describe("span for ssim", span, "a range above 0", "Pass 1 for images in 0..1, or None"))
    x, e = (a.reshape(shape[0], -1, *shape[-2:]) for a in (flat, other))
    kernels = [_gaussian(min(11, n - 1 + n % 2), sigma) for n in shape[-2:]]

    def mean(image: np.ndarray) -> np.ndarray:
        for axis, kernel in zip((2, 3), kernels, strict=True):
            whole = image.shape[axis] - len(kernel) + 1
            first = np.moveaxis(image, axis, 0)
            image = np.moveaxis(sum(weight * first[k : k + whole] for k, weight in enumerate(kernel)), 0, axis)
        return image

    ranges = np.ptp(flat, axis=1) if span is None else np.full(len(flat), float(span))
    c1, c2 = ((share * ranges[:, None, None, None]) ** 2 for share in (0.01, 0.03))
    mx, me = mean(x), mean(e)
    vx, ve, cov = mean(x * x) - mx**2, mean(e * e) - me**2, mean(x * e) - mx * me
    top = (2 * mx * me + c1) * (2 * cov + c2)
    similarity = _ratio(top, (mx**2 + me**2 + c1) * (vx + ve + c2), 0.0).mean((1, 2, 3))
    return np.where(ranges > 0, similarity, (flat == other).all(1).astype(float))


def compare(truth: ArrayLike, estimate: ArrayLike, scale: str = "least-squares") -> dict[str, np.ndarray]:
    """All figures of an estimate after the stated scaling.

    Args:
        truth, estimate: [B, ...].
        scale: "least-squares" multiplies the estimate by `fit_scale` (one factor per sample; a whole line is
            one sample), "none" takes it as it is.

    Returns:
        psnr, snr, correlation, quality and scale (the factor used), each [B].
    """
    if scale not in SCALES:
        raise InputError(describe("scale", repr(scale), " | ".join(SCALES), "Use one of these names"))
    x, e = _pair(truth, estimate)
    factor = fit_scale(x, e) if scale == "least-squares" else np.ones(len(x))
    scaled = factor[:, None] * e
    return {"psnr": psnr(x, scaled), "snr": snr(x, scaled), "correlation": correlation(x, e),
            "quality": quality(x, e), "scale": factor}


def _pair(truth: ArrayLike, estimate: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as [B, N] float64."""
    arrays = [np.asarray(a.detach().cpu() if hasattr(a, "detach") else a) for a in (truth, estimate)]
    shapes = [a.shape for a in arrays]
    if shapes[0] != shapes[1] or len(shapes[0]) < 2 or arrays[0].size == 0:
        raise InputError(describe("shapes of truth and estimate", f"{shapes[0]} and {shapes[1]}",
                                  "the same [B, ...] for both, not empty",
                                  "Match them; one section is section[None]"))
    if any(np.iscomplexobj(a) for a in arrays):
        raise InputError(describe("truth and estimate", "complex numbers", "real ones",
                                  "Pass their real parts"))
    x, e = (a.reshape(len(a), -1).astype(np.float64) for a in arrays)
    return x, e


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("bn,bn->b", a, b)


def _ratio(top: np.ndarray, bottom: np.ndarray, otherwise: float) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.shape(bottom), otherwise), where=bottom != 0)


def _decibel(signal: np.ndarray, error: np.ndarray) -> np.ndarray:
    """10 log10(signal / error), inf without error, else -inf without signal; NaN stays NaN."""
    ratio = _ratio(signal, error, np.inf)
    out = np.full(ratio.shape, -np.inf)
    return 10.0 * np.log10(ratio, out=out, where=ratio != 0)


def _gaussian(size: int, sigma: float) -> np.ndarray:
    kernel = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    return kernel / kernel.sum()

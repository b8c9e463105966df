"""Image deblurring: three channels, a Gaussian blur as forward model, a convolutional mismatch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data import canvases
from ..data.mismatch import BLUR_LEVELS, BlurMismatch, mismatch_level
from ..data.splits import generator
from ..physics import GaussianBlur, gaussian_kernel
from .batch import TaskBatch

IMAGE_CHANNELS = 3
DEPTH = 5
RESIDUAL = "conv"
ETA = {"robust-lu": -1.0, "adaptive-lu": 0.01, "adaptive-deq": -1.0}
# The paper's appendix prints these two the other way round; these are the values of the published scripts.
PENALTIES = {"adaptive-lu": {"gamma": 0.01, "lam": 0.1}, "adaptive-deq": {"gamma": 0.01, "lam": 0.1}}
DEQ: dict[str, Any] = {"offset": "residual"}
FIXED_POINT: dict[str, Any] = {}

SHAPE = (110, 88)
KERNEL = 13
_HALO = KERNEL // 2


def draw(
    batch: int,
    shape: tuple[int, int],
    seed: int,
    mismatch: str | BlurMismatch,
    start: int,
    split: str,
    source: str,
    sigma: tuple[float, float] = (0.8, 2.4),
    noise: tuple[float, float] = (0.002, 0.02),
) -> TaskBatch:
    """Pairs `y = k * x + noise`, k a Gaussian of 13 x 13 pixels; what lies around the image leaks in at its borders.

    sigma: range of the true standard deviation of k in pixels, log-uniform. noise: range of the standard deviation
    of the white noise, uniform, in the unit of x, which lies in 0..1. The others as in `draw_pairs`.
    """
    level = mismatch_level(mismatch, BLUR_LEVELS)
    rows = []
    for index in range(start, start + batch):
        rng = generator(seed, split, index)
        width = float(np.exp(rng.uniform(*np.log(sigma))))
        nominal = width * (1 + level.draw(rng))
        spread = rng.uniform(*noise)
        grain = rng.standard_normal((3, *shape), np.float32)
        wide = (shape[0] + 2 * _HALO, shape[1] + 2 * _HALO)
        (image,) = canvases.crop("leaves", rng, wide, seed, split, index)
        image = _turn(rng, image)
        clean = _blur(image, width)
        error = np.float32(spread) * grain
        snr = 10 * np.log10((clean**2).sum(dtype=np.float64) / (error**2).sum(dtype=np.float64))
        rows.append((image[:, _HALO:-_HALO, _HALO:-_HALO], clean + error, width, nominal, snr))
    x, y, widths, nominals, snr = zip(*rows, strict=True)
    models = [GaussianBlur(torch.stack([gaussian_kernel(KERNEL, s**2) for s in sigmas])[:, None])
              for sigmas in (nominals, widths)]
    return TaskBatch(torch.from_numpy(np.stack(x)), torch.from_numpy(np.stack(y)), *models,
                     torch.tensor(snr, dtype=torch.float32))


def _turn(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Mirror an image left to right or not, and put its channels in any order."""
    mirrored = rng.random() < 0.5
    return image[rng.permutation(3)][..., :: -1 if mirrored else 1]


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur [3, H + 12, W + 12] to [3, H, W], each output pixel from its whole neighbourhood."""
    kernel = gaussian_kernel(KERNEL, sigma**2, torch.float64).sum(0).numpy().astype(np.float32)
    for axis in (1, 2):
        size = image.shape[axis] - 2 * _HALO
        parts = (k * image.take(range(i, i + size), axis) for i, k in enumerate(kernel))
        image = sum(parts)
    return image

"""Image deblurring: three channels, a Gaussian blur as forward model, a convolutional mismatch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.canvases import generated_image
from ..data.folders import open_images
from ..data.mismatch import BLUR_LEVELS, BlurMismatch, level_of
from ..data.photographs import photograph
from ..data.splits import generator
from ..physics import GaussianBlur, gaussian_kernel
from .batch import TaskBatch, check_range, snr_db, stack

IMAGE_CHANNELS = 3
DEPTH = 5
RESIDUAL = "conv"
ETA = {"robust-lu": -1.0, "adaptive-lu": 0.01, "adaptive-deq": -1.0}
# The paper's appendix prints these two the other way round; these are the values of the published scripts.
PENALTIES = {"adaptive-lu": {"gamma": 0.01, "lam": 0.1}, "adaptive-deq": {"gamma": 0.01, "lam": 0.1}}
DEQ: dict[str, Any] = {"offset": "residual"}
# The method of the shipped model that goes by the task's name.
BEST = "adaptive-lu"
FIXED_POINT: dict[str, Any] = {}

SHAPE = (110, 88)
KERNEL = 13
# What lies this far outside an image leaks in at its borders.
HALO = KERNEL // 2


def draw(
    batch: int,
    shape: tuple[int, int],
    seed: int,
    mismatch: str | BlurMismatch,
    start: int,
    split: str,
    source: str | os.PathLike[str],
    sigma: tuple[float, float] = (0.8, 2.4),
    noise: tuple[float, float] = (0.002, 0.02),
    surround: bool = False,
) -> TaskBatch:
    """Pairs `y = k * x + noise`, k a Gaussian of 13 x 13 pixels.

    surround: False: around the image lie zeros, as the forward model has it, so y is exact to its borders. True: what
    really lies there leaks in, as in a photograph.

    source: "generated" (dead leaves), "photographs" (split test), or a folder with CelebA or your own images. sigma:
    range of the true standard deviation of k in pixels, log-uniform. noise: range of the standard deviation of the
    white noise, uniform, in the unit of x, which lies in 0..1. The others as in `draw_pairs`.
    """
    level = level_of(mismatch, BLUR_LEVELS)
    check_range("sigma", sigma, above_zero=True)
    check_range("noise", noise)
    images = _images(source)
    wide = (shape[0] + 2 * HALO, shape[1] + 2 * HALO)
    rows = []
    for index in range(start, start + batch):
        rng = generator(seed, split, index)
        width = float(np.exp(rng.uniform(*np.log(sigma))))
        told = width * (1 + level.draw(rng))
        error = np.float32(rng.uniform(*noise)) * rng.standard_normal((3, *shape), np.float32)
        image = images(rng, wide, seed, split, index)
        if not surround:
            image = np.pad(image[:, HALO:-HALO, HALO:-HALO], ((0, 0), (HALO, HALO), (HALO, HALO)))
        clean = _blur(image, width)
        rows.append((image[:, HALO:-HALO, HALO:-HALO], clean + error, told, width, snr_db(clean, error)))
    x, y, nominal, true, snr = zip(*rows, strict=True)
    return TaskBatch(stack(x), stack(y), blurs(nominal), blurs(true), stack(snr))


def blurs(sigmas: Sequence[float]) -> GaussianBlur:
    """One blur per sample, of the given standard deviations in pixels."""
    return GaussianBlur(torch.stack([gaussian_kernel(KERNEL, sigma**2) for sigma in sigmas])[:, None])


def _images(source: str | os.PathLike[str]) -> Callable[..., np.ndarray]:
    if source == "generated":
        return generated_image
    if source == "photographs":
        return photograph
    return open_images(Path(source).absolute(), (SHAPE[0] + 2 * HALO, SHAPE[1] + 2 * HALO))


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur [3, H + 12, W + 12] to [3, H, W], each output pixel from its whole neighbourhood."""
    line = gaussian_kernel(KERNEL, sigma**2, torch.float64).sum(0).numpy().astype(np.float32)
    for axis in (1, 2):
        size = image.shape[axis] - 2 * HALO
        image = sum(weight * image.take(range(i, i + size), axis) for i, weight in enumerate(line))
    return image

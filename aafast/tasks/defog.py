"""Defogging: three channels, the identity as nominal model, transmission and airlight networks as mismatch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..checks import check_choice
from ..data import canvases
from ..data.mismatch import HAZE_LEVELS, HazeMismatch, mismatch_level
from ..data.splits import generator
from ..physics import Haze
from .batch import TaskBatch

IMAGE_CHANNELS = 3
DEPTH = 7
RESIDUAL = "haze"
ETA = {"robust-lu": -1.0, "adaptive-lu": -5.0, "adaptive-deq": -1.0}
PENALTIES = {"adaptive-lu": {"gamma": 1e-4, "lam": 0.1}, "adaptive-deq": {"gamma": 0.0, "lam": 0.01}}
DEQ: dict[str, Any] = {"offset": "subtract"}
FIXED_POINT: dict[str, Any] = {"name": "picard", "max_iter": 30}

SHAPE = (128, 256)


def draw(
    batch: int,
    shape: tuple[int, int],
    seed: int,
    mismatch: str | HazeMismatch,
    start: int,
    split: str,
    source: str,
    beta: tuple[float, float] = (0.8, 2.5),
    noise: tuple[float, float] = (0.002, 0.01),
    nominal: str = "haze",
) -> TaskBatch:
    """Pairs `y = x t + L (1 - t) + noise`, `t = exp(-beta d)`, d the depth in 0.1..1.

    beta: range of the true density, log-uniform. noise: range of the standard deviation of the white noise, uniform,
    in the unit of x, which lies in 0..1. nominal: "haze", wrong by `mismatch`, or "identity", the paper's A0. The
    others as in `draw_pairs`.
    """
    level = mismatch_level(mismatch, HAZE_LEVELS)
    check_choice("nominal", nominal, ("haze", "identity"))
    rows = []
    for index in range(start, start + batch):
        rng = generator(seed, split, index)
        density = float(np.exp(rng.uniform(*np.log(beta))))
        airlight = rng.uniform(0.73, 0.95) + rng.uniform(-0.03, 0.03, 3)
        wrong_density, wrong_airlight = level.draw(rng)
        spread = rng.uniform(*noise)
        grain = rng.standard_normal((3, *shape), np.float32)
        image, depth = canvases.crop("scene", rng, shape, seed, split, index)
        if rng.random() < 0.5:
            image, depth = image[..., ::-1], depth[..., ::-1]
        t = np.exp(np.float32(-density) * depth)
        clean = image * t + airlight.astype(np.float32)[:, None, None] * (1 - t)
        error = np.float32(spread) * grain
        snr = 10 * np.log10((clean**2).sum(dtype=np.float64) / (error**2).sum(dtype=np.float64))
        rows.append((image, clean + error, depth[None], (density * (1 + wrong_density), airlight + wrong_airlight),
                     (density, airlight), snr))
    x, y, depth, told, true, snr = zip(*rows, strict=True)
    x, y, depth = (torch.from_numpy(np.stack(part)) for part in (x, y, depth))
    models = [Haze(depth, *(torch.from_numpy(np.stack(part)).float() for part in zip(*model, strict=True)))
              for model in (told, true)]
    if nominal == "identity":
        models[0] = Haze(depth, torch.zeros(batch), models[0].airlight.flatten(1))
    return TaskBatch(x, y, *models, torch.tensor(snr, dtype=torch.float32))

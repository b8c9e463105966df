"""Defogging: three channels, the identity as nominal model, transmission and airlight networks as mismatch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_choice
from ..data.canvases import generated_scene
from ..data.cityscapes import open_cityscapes
from ..data.mismatch import HAZE_LEVELS, HazeMismatch, level_of
from ..data.photographs import photographed_scene
from ..data.scenes import Scene
from ..data.splits import generator
from ..physics import Haze
from .batch import TaskBatch, check_range, snr_db, stack

IMAGE_CHANNELS = 3
DEPTH = 7
RESIDUAL = "haze"
ETA = {"robust-lu": -1.0, "adaptive-lu": -5.0, "adaptive-deq": -1.0}
PENALTIES = {"adaptive-lu": {"gamma": 1e-4, "lam": 0.1}, "adaptive-deq": {"gamma": 0.0, "lam": 0.01}}
DEQ: dict[str, Any] = {"offset": "subtract"}
# The method of the shipped model that goes by the task's name.
BEST = "adaptive-lu"
FIXED_POINT: dict[str, Any] = {"name": "picard", "max_iter": 30}

SHAPE = (128, 256)


def draw(
    batch: int,
    shape: tuple[int, int],
    seed: int,
    mismatch: str | HazeMismatch,
    start: int,
    split: str,
    source: str | os.PathLike[str],
    beta: tuple[float, float] = (0.8, 2.5),
    noise: tuple[float, float] = (0.002, 0.01),
    nominal: str = "haze",
    fog: str | None = None,
) -> TaskBatch:
    """Pairs `y = x t + L (1 - t) + noise`, `t = exp(-beta d)`, d the depth.

    source: "generated" (dead leaves with depth 0.1..1), "photographs" (one stereo scene, split test), or a folder with
    Cityscapes (depth in units of 100 m). beta: range of the true density, log-uniform. noise: range of the standard
    deviation of the white noise, uniform, in the unit of x, which lies in 0..1. nominal: "haze", wrong by `mismatch`,
    or "identity", the paper's A0. fog: "made" by this formula, or "given", the foggy images of Cityscapes, whose true
    haze has the density of their names and the airlight that explains them best; None is "given" where they are, and
    beta and noise then have no use. The others as in `draw_pairs`.
    """
    level = level_of(mismatch, HAZE_LEVELS)
    check_range("beta", beta, above_zero=True)
    check_range("noise", noise)
    check_choice("nominal", nominal, ("haze", "identity"))
    scenes = _scenes(source, fog)
    rows = []
    for index in range(start, start + batch):
        rng = generator(seed, split, index)
        density = float(np.exp(rng.uniform(*np.log(beta))))
        airlight: np.ndarray = rng.uniform(0.73, 0.95) + rng.uniform(-0.03, 0.03, 3)
        wrong_density, wrong_airlight = level.draw(rng)
        error = np.float32(rng.uniform(*noise)) * rng.standard_normal((3, *shape), np.float32)
        scene = scenes(rng, shape, seed, split, index)
        if scene.airlight is not None:
            density, airlight = scene.beta, scene.airlight
        t = np.exp(np.float32(-density) * scene.depth)
        clean = scene.image * t + airlight.astype(np.float32)[:, None, None] * (1 - t)
        y = clean + error if scene.foggy is None else scene.foggy
        told = (0.0 if nominal == "identity" else density * (1 + wrong_density), airlight + wrong_airlight)
        rows.append((scene.image, y, scene.depth[None], *told, density, airlight, snr_db(clean, y - clean)))
    x, y, depth, *haze, snr = (stack(part) for part in zip(*rows, strict=True))
    return TaskBatch(x, y, Haze(depth, *haze[:2]), Haze(depth, *haze[2:]), snr)


def _scenes(source: str | os.PathLike[str], fog: str | None) -> Callable[..., Scene]:
    named = {"generated": generated_scene, "photographs": photographed_scene}
    if fog is not None:
        check_choice("fog", fog, ("made",) if source in named else ("given", "made"))
    return named[source] if source in named else open_cityscapes(Path(source).absolute(), SHAPE, fog or "given")

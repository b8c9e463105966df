"""Seismic deconvolution: one channel, a wavelet as forward model, a wavelet correction as mismatch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..data import Mismatch, seismic_pairs
from ..data.blocky import blocky_section
from ..data.reflectivity import reflectivity_section
from ..data.sections import Draw, open_sections
from ..errors import InputError, describe
from ..physics import WaveletConvolution
from .batch import TaskBatch

IMAGE_CHANNELS = 1
DEPTH = 9
RESIDUAL = "wavelet"
ETA = {"robust-lu": 0.01, "adaptive-lu": 0.01, "adaptive-deq": -1.0}
PENALTIES = {"adaptive-lu": {"gamma": 0.01, "lam": 0.1}, "adaptive-deq": {"gamma": 0.01, "lam": 0.01}}
DEQ: dict[str, Any] = {"offset": "subtract"}
# The method of the shipped model that goes by the task's name.
BEST = "adaptive-lu"
FIXED_POINT: dict[str, Any] = {}

SHAPE = (128, 50)
# Sources that are generated: many weak interfaces as in wells, few strong ones as in published models, both in turn.
GENERATED: dict[str, tuple[Draw, ...]] = {
    "generated": (reflectivity_section,),
    "blocky": (blocky_section,),
    "mixed": (reflectivity_section, blocky_section),
}


def draw(
    batch: int,
    shape: tuple[int, int],
    seed: int,
    mismatch: str | Mismatch,
    start: int,
    split: str,
    source: str | os.PathLike[str],
    snr_db: tuple[float, float] = (5.0, 30.0),
    taps: int = 51,
) -> TaskBatch:
    """Pairs `y = w * x + noise` cut from a larger section, whose layers above and below leak in.

    source: "generated", "blocky", "mixed" (of both, in turn), or a folder or file of wells or models
    (`aafast.data.sections.open_sections`), for the split test. snr_db: range of the signal-to-noise ratio in dB,
    uniform. taps: length of the wavelets, odd. The others as in `draw_pairs`.
    """
    options: dict[str, Any] = {"start": start, "surround": True, "split": split}
    if source in GENERATED:
        options["sections"] = GENERATED[str(source)]
    else:
        if split != "test":
            raise InputError(
                describe(
                    f"split {split!r} of {source}",
                    "wells or models, a handful of test sections",
                    'split "test"',
                    'Train and validate on source "generated", "blocky" or "mixed"',
                )
            )
        options["sections"] = open_sections(Path(source).absolute())
    pairs = seismic_pairs(batch, shape, seed, mismatch, snr_db, taps, **options)
    nominal, true = WaveletConvolution(pairs.w_nominal), WaveletConvolution(pairs.w_true)
    return TaskBatch(pairs.x, pairs.y, nominal, true, pairs.snr)

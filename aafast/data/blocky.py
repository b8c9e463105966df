"""Columns of few, strong interfaces between thick layers, as published models have, where wells have many weak ones."""

from __future__ import annotations

import numpy as np

from .reflectivity import OVER, STD, reflectivity_section

THICKNESS = (3.0, 16.0)  # of layers on average, in samples, log-uniform from column to column
LEAST = 0.3  # of a layer, relative to that average
# How an interface is written to samples: to the nearest one, shared by two in proportion, equal on two.
_BOX = np.ones(OVER)
_WRITTEN = (_BOX, np.convolve(_BOX, _BOX) / OVER, np.ones(2 * OVER))


def blocky_column(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Reflectivity of a column of homogeneous layers, on the fine grid.

    Thickness: `mean (0.3 + 0.7 g)`, g exponential, the mean log-uniform in 3 to 16 samples. Coefficients: of random
    sign, magnitudes `(|n| + c) / (1 + c)` with n normal and c uniform in 0 to 3, which runs from normal to nearly equal
    ones. A column writes its interfaces to the nearest sample, to two samples in proportion, or to two alike.

    Args:
        rng: source of every random number.
        samples: length of the column in samples, at least 1.

    Returns:
        [samples * OVER] float64; every OVER-th value, from any start, is a sampled log.
    """
    mean = float(np.exp(rng.uniform(*np.log(THICKNESS))))
    count = int(samples / (LEAST * mean)) + 2
    depth = np.cumsum(mean * (LEAST + (1 - LEAST) * rng.exponential(size=count)))
    evenness = rng.uniform(0.0, 3.0)
    size = (np.abs(rng.standard_normal(count)) + evenness) / (1 + evenness)
    coefficient = STD * size * rng.choice([-1.0, 1.0], count)
    cell = np.rint((depth - mean * rng.random()) * OVER).astype(np.int64)
    inside = (cell >= 0) & (cell < samples * OVER)
    spikes = np.bincount(cell[inside], coefficient[inside], minlength=samples * OVER)
    return np.convolve(spikes, _WRITTEN[rng.integers(len(_WRITTEN))], "same")[: samples * OVER]


def blocky_section(rng: np.random.Generator, samples: int, traces: int) -> np.ndarray:
    """A section [T, X] float32 of `reflectivity_section` with columns of `blocky_column`."""
    return reflectivity_section(rng, samples, traces, column=blocky_column)

"""Layered, dipping, folded and faulted reflectivity sections with the statistics of real wells.

A section is one or two long columns of layers read along `tau(t, x)`, the geological depth (in samples) that
lies at time t of trace x. Interfaces sit at continuous depths (a grid four times finer than the samples). The
log impedance is averaged over one sample and then differenced, which is what happens to a well log that is
block-averaged in two-way time: an interface between two samples is shared by both in proportion. Therefore

- the amplitude statistics are those of block-averaged wells (the column's parameters were fitted with this
  averaging in place, so nothing is lost by it);
- a dipping interface moves smoothly from sample to sample. Rounding it to the nearest sample would keep the
  statistics too, but would put one-sample steps into every horizon and hence into the data.

Lateral coherence costs one table look-up per point, so a 128 x 64 section takes about a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aafast.errors import InputError, describe

# Cells per sample of the fine grid: even, so that half a sample is a whole number of cells.
OVER = 4
STD = 0.038
# Parameters fitted to 32 real wells at 2 ms: spectrum, tails, correlation of |r|, share of the energy.
LAYER_THICKNESS = 0.25
LAYER_SHAPE = 3.0
BLUE = 0.65
ACTIVITY = 0.87
ACTIVITY_SPREAD = 0.1
ACTIVITY_LAYERS = 25.0
ACTIVITY_WHITE = 0.02
ACTIVITY_CAP = 2.25
# Standard deviation of a column of unit innovations with ACTIVITY; it brings the output to STD.
_RAW_STD = 1.88

_TRIANGLE = 1.0 - np.abs(np.arange(1 - OVER, OVER)) / OVER
_LAGS = np.arange(1, 32)
_FRACTIONAL = np.cumprod(np.concatenate([[1.0], (_LAGS - 1 - BLUE) / _LAGS]))
_MEMORY = np.exp(-np.arange(64) / ACTIVITY_LAYERS)
_MEMORY *= np.sqrt((1 - ACTIVITY_WHITE) / (_MEMORY**2).sum())


def reflectivity_column(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Reflectivity of a layered column, block-averaged over one sample, on the fine grid.

    Layers have gamma-distributed thickness. Their reflection coefficients are `exp(s v) g`: g Gaussian with
    the spectrum of (1 - B)^0.65 over layers (a mean-reverting impedance), v a slowly varying activity that
    gathers the strong interfaces and makes the tails heavy.

    Args:
        rng: source of every random number.
        samples: length of the column in samples, at least 1.

    Returns:
        [samples * OVER] float64, std near STD; every OVER-th value, from any start, is a sampled log.
    """
    # Room for a draw of thin layers; the rare shortfall ends in a homogeneous layer.
    count = int(samples / LAYER_THICKNESS * 1.2) + 60
    depth = np.cumsum(rng.gamma(LAYER_SHAPE, LAYER_THICKNESS / LAYER_SHAPE, count))
    blue = np.convolve(rng.standard_normal(count + len(_LAGS)), _FRACTIONAL, "valid")
    activity = np.convolve(rng.standard_normal(count + len(_MEMORY) - 1), _MEMORY, "valid")
    activity += np.sqrt(ACTIVITY_WHITE) * rng.standard_normal(count)
    strength = ACTIVITY + ACTIVITY_SPREAD * rng.uniform(-1.0, 1.0)
    coefficient = np.exp(strength * np.minimum(activity, ACTIVITY_CAP) - strength**2 + ACTIVITY**2) * blue
    cell = np.rint(depth * OVER).astype(np.int64)
    inside = cell < samples * OVER
    spikes = np.bincount(cell[inside], coefficient[inside] * (STD / _RAW_STD), minlength=samples * OVER)
    # Averaging the step at an interface over one sample and differencing over one sample: a triangle.
    return np.convolve(spikes, _TRIANGLE, "same")[: samples * OVER]


def reflectivity_section(
    rng: np.random.Generator,
    samples: int,
    traces: int,
    faults: int | None = None,
    unconformity: bool | None = None,
    dip: float | None = None,
    column: Callable[[np.random.Generator, int], np.ndarray] | None = None,
) -> np.ndarray:
    """Draw a reflectivity section with dip, folds, growth, faults of varying throw and lateral change.

    `r[t, x] = cos(m(x)) a(tau(t, x)) + sin(m(x)) b(tau(t, x))`, a and b two columns, m slow. Fault planes do
    not reflect: they are too steep to be imaged in stacked data.

    Args:
        rng: source of every random number.
        samples: rows T (time, downwards), at least 1.
        traces: columns X, at least 1.
        faults: number of faults; None draws a Poisson number, 0.8 per 64 traces on average.
        unconformity: whether a younger, flatter unit covers the section; None draws it with chance 0.2.
        dip: regional dip in samples per trace; None draws it from N(0, 0.2) within +-0.7.
        column: what draws the two columns, as `reflectivity_column`, which is None.

    Returns:
        [T, X] float32, dimensionless reflection coefficients with std near 0.038.

    Raises:
        InputError: a size or a count is out of range.
    """
    if samples < 1 or traces < 1:
        raise InputError(describe("section size", f"{samples} x {traces}", "at least 1 sample and 1 trace",
                                  "Ask for a larger section"))
    if faults is not None and faults < 0:
        raise InputError(describe("number of faults", faults, "0 or more",
                                  "Pass a count, or None to draw one"))
    time = np.arange(samples, dtype=np.float64)[:, None]
    trace = np.arange(traces, dtype=np.float64)
    tau = time - _structure(rng, samples, trace, dip) * _growth(rng, time / samples)
    count = int(rng.poisson(0.8 * traces / 64)) if faults is None else faults
    for _ in range(count):
        tau -= _throw(rng, samples, traces, time, trace)
    covered = bool(rng.random() < 0.2) if unconformity is None else unconformity
    if covered:
        tau = _cover(rng, samples, trace, time, tau)
    tau -= tau.min() - 2.0
    # The second column fades in and out along the line, so amplitudes and even polarities change slowly.
    wavenumber = 2 * np.pi / _log_uniform(rng, 80, 800)
    mix = rng.uniform(0.0, 0.6) * np.sin(trace * wavenumber + rng.uniform(0, 2 * np.pi))
    length = int(tau.max()) + 4
    position = tau * OVER
    cell = position.astype(np.int64)
    position -= cell
    column = reflectivity_column if column is None else column
    section = _lookup(column(rng, length), cell, position) * np.cos(mix)
    section += _lookup(column(rng, length), cell, position) * np.sin(mix)
    return section.astype(np.float32)


def _lookup(table: np.ndarray, cell: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Linear interpolation on the fine grid; exact, since the averaged column is linear between cells."""
    return table[cell] + np.diff(table)[cell] * fraction


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _structure(rng: np.random.Generator, samples: int, trace: np.ndarray, dip: float | None) -> np.ndarray:
    """Depth of a horizon [X] in samples: regional dip and three folds of 40 to 400 traces."""
    slope = float(np.clip(rng.normal(0.0, 0.2), -0.7, 0.7)) if dip is None else dip
    depth = slope * (trace - trace.mean())
    for _ in range(3):
        wavelength = _log_uniform(rng, 40, 400)
        height = abs(rng.normal(0.0, 0.12)) * wavelength / (2 * np.pi)
        depth = depth + height * np.sin(trace * (2 * np.pi / wavelength) + rng.uniform(0, 2 * np.pi))
    return depth


def _growth(rng: np.random.Generator, depth: np.ndarray) -> np.ndarray:
    """Layers thicken or thin along the line: the structure's relief grows or fades with depth [T, 1]."""
    return 1.0 + rng.uniform(-0.4, 0.4) * (depth - 0.5)


def _throw(
    rng: np.random.Generator, samples: int, traces: int, time: np.ndarray, trace: np.ndarray
) -> np.ndarray:
    """Downward displacement [T, X] of one fault's hanging wall, fading with depth and away from the plane."""
    plane = rng.uniform(-0.1, 1.1) * traces
    lean = rng.choice([-1.0, 1.0]) * rng.uniform(0.03, 0.4)
    largest = max(2.5, min(20.0, samples / 6))
    throw = _log_uniform(rng, 2.0, largest) * (1.0 if rng.random() < 0.85 else -1.0)
    profile = throw * (1.0 + rng.uniform(-0.6, 0.6) * (time / samples - 0.5) * 2)
    # The block above the plane lies on the side to which the plane leans: it moved down (normal fault).
    distance = (trace - plane - lean * (time - samples / 2)) * np.sign(lean)
    reach = _log_uniform(rng, 60, 600)
    return np.where(distance > 0, profile / (1.0 + np.maximum(distance, 0.0) / reach), 0.0)


def _cover(
    rng: np.random.Generator, samples: int, trace: np.ndarray, time: np.ndarray, tau: np.ndarray
) -> np.ndarray:
    """Replace what lies above a gently undulating surface by a younger unit that the faults do not cut."""
    relief = _structure(rng, samples, trace, float(rng.normal(0.0, 0.05))) * 0.3
    surface = rng.uniform(0.15, 0.6) * samples + relief
    young = time - 0.5 * relief
    above = time < surface
    # A separate stretch of the same column, 8 samples clear of the older unit.
    return np.where(above, young - young.max() + tau.min() - 8.0, tau)

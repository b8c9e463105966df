"""Classical deconvolution to stand against: FISTA sparse-spike and Wiener spiking deconvolution.

Both are told the same wavelet and get the same data as the models. Each has one parameter that matters, the
weight of its regularisation. `tune` chooses it on examples of their own, by the quality it reaches with the
nominal wavelet: lines of other seeds with the same nominal wavelet, and the signal-to-noise ratio and the
mismatch that are expected of the line to come. The line that is reported never takes part in the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, describe, require
from .metrics import quality

SPARSITIES = (0.003, 0.01, 0.03, 0.1, 0.3)
DAMPINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class BaselineSettings:
    """Parameters of the baselines and how they were chosen.

    Attributes:
        sparsity: FISTA's weight of |x|_1 relative to the RMS of the data.
        damping: Wiener's white noise relative to the energy of the wavelet.
        iterations: of FISTA.
        quality_fista, quality_wiener: mean Q in dB on the examples.
    """

    sparsity: float = 0.03
    damping: float = 0.1
    iterations: int = 100
    quality_fista: float = float("nan")
    quality_wiener: float = float("nan")


def fista(data: np.ndarray, wavelet: np.ndarray, sparsity: float = 0.03, iterations: int = 100) -> np.ndarray:
    """Sparse-spike deconvolution by accelerated soft thresholding (pylops).

    Minimises `1/2 |W x - y|^2 + sparsity rms(y) |x|_1` from x = 0 with the step 1 / max |W(f)|^2.
    Source: Beck and Teboulle, 2009.

    Args:
        data: [T, X], T >= K, any unit; all-zero data give zeros.
        wavelet: [K], K odd, centred.
        sparsity: weight of the penalty relative to the RMS of the data, above 0.
        iterations: number of iterations, at least 1.

    Returns:
        [T, X] float32.

    Raises:
        InputError: an argument is out of range. MissingDependency: no pylops.
    """
    data, wavelet = _check(data, wavelet)
    if not sparsity > 0 or iterations < 1:
        raise InputError(describe("FISTA's parameters", f"sparsity {sparsity}, {iterations} iterations",
                                  "a sparsity above 0 and at least 1 iteration", "Change them"))
    processing = require("pylops.signalprocessing", extra="baselines")
    solver = require("pylops.optimization.sparsity", extra="baselines")
    level = float(np.sqrt(np.mean(data**2)))
    if level == 0:
        return np.zeros(data.shape, np.float32)
    # Traces as rows: the transforms then run along contiguous memory.
    rows = np.ascontiguousarray(data.T)
    operator = processing.Convolve1D(rows.shape, wavelet, offset=len(wavelet) // 2, axis=-1)
    largest = np.abs(np.fft.rfft(wavelet, 16 * len(wavelet))).max() ** 2
    # pylops minimises |W x - y|^2 + eps |x|_1: twice our function for eps = 2 sparsity rms(y).
    found = solver.fista(operator, rows.ravel(), niter=iterations, eps=2 * sparsity * level,
                         alpha=1.0 / (1.01 * largest), tol=0.0)[0]
    return found.reshape(rows.shape).T.astype(np.float32)


def wiener(data: np.ndarray, wavelet: np.ndarray, damping: float = 0.1) -> np.ndarray:
    """Spiking deconvolution with a known wavelet: one two-sided least-squares filter for all traces.

    The filter g of 2 K + 1 taps solves `sum_j (R[i-j] + damping R[0] delta_ij) g[j] = w[-i]` (Toeplitz), R
    the autocorrelation of the wavelet, and `x = g * y`. Source: Robinson and Treitel, 1967.

    Args:
        data: [T, X], T >= K, any unit.
        wavelet: [K], K odd, centred.
        damping: white noise relative to the wavelet's energy, above 0.

    Returns:
        [T, X] float32.

    Raises:
        InputError: an argument is out of range. MissingDependency: no scipy.
    """
    data, wavelet = _check(data, wavelet)
    if not damping > 0:
        raise InputError(describe("damping of the Wiener filter", damping, "above 0", "Pass for example 0.1"))
    linalg = require("scipy.linalg", extra="baselines")
    signal = require("scipy.signal", extra="baselines")
    taps = len(wavelet)
    column = np.zeros(2 * taps + 1)
    column[:taps] = np.correlate(wavelet, wavelet, "full")[taps - 1:]
    column[0] *= 1.0 + damping
    right = np.zeros(2 * taps + 1)
    right[taps - taps // 2:taps + taps // 2 + 1] = wavelet[::-1]
    shaping = linalg.solve_toeplitz(column, right)
    longer = signal.fftconvolve(np.pad(data, ((taps, taps), (0, 0))), shaping[:, None], "valid", axes=0)
    return longer.astype(np.float32)


def tune(
    examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    iterations: int = 100,
    sparsities: Sequence[float] = SPARSITIES,
    dampings: Sequence[float] = DAMPINGS,
) -> BaselineSettings:
    """Choose each baseline's regularisation by its mean quality Q on examples.

    Args:
        examples: (truth [T, X], data [T, X], nominal wavelet [K]) each; none of them may be reported on.
        iterations: of FISTA.
        sparsities, dampings: candidates.

    Returns:
        BaselineSettings with the best of the candidates and their scores.

    Raises:
        InputError: no example, or one that cannot be used. MissingDependency: no pylops or scipy.
    """
    if not examples:
        raise InputError(describe("examples", "none", "at least one (truth, data, wavelet)", "Generate some"))

    def score(method: Callable[..., np.ndarray], *parameters: float) -> float:
        return float(np.mean([quality(x[None], method(y, w, *parameters)[None]) for x, y, w in examples]))

    by_sparsity = {s: score(fista, s, iterations) for s in sparsities}
    by_damping = {d: score(wiener, d) for d in dampings}
    sparsity, damping = (max(found, key=found.__getitem__) for found in (by_sparsity, by_damping))
    return BaselineSettings(sparsity, damping, iterations, by_sparsity[sparsity], by_damping[damping])


def _check(data: np.ndarray, wavelet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    data, wavelet = np.asarray(data, np.float64), np.asarray(wavelet, np.float64)
    if data.ndim != 2 or data.size == 0 or not np.isfinite(data).all():
        raise InputError(describe("data", f"shape {data.shape}", "a finite section [T, X]",
                                  "Pass one section"))
    if wavelet.ndim != 1 or len(wavelet) % 2 == 0 or not (np.isfinite(wavelet).all() and wavelet.any()):
        raise InputError(describe("wavelet", f"shape {wavelet.shape}",
                                  "an odd number of finite taps, not zero", "Pass a centred wavelet"))
    if len(wavelet) > len(data):
        raise InputError(describe("taps of the wavelet", len(wavelet),
                                  f"at most the {len(data)} samples of a trace", "Shorten the wavelet"))
    return data, wavelet

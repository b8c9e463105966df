"""Training pairs: reflectivity, its noisy convolution with a true wavelet, and the wrong wavelet we know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aafast.errors import InputError, describe

from .mismatch import Mismatch, mismatch_level
from .noise import convolve_time, noise_section, rms
from .reflectivity import reflectivity_section
from .splits import generator
from .wavelets import WaveletSpec, random_spec


class SeismicBatch(NamedTuple):
    """Pairs of one shape.

    Attributes:
        x: reflectivity [B, 1, T, X], in the units of y.
        y: data [B, 1, T, X], `w_true * x + noise`; the noise-free part has RMS 0.5 to 2.
        w_true: wavelet that made y [B, taps], unit l2 norm.
        w_nominal: wavelet that the solver is told [B, taps], unit l2 norm.
        snr: 10 log10(energy of w_true * x / energy of the noise) in dB [B].
    """

    x: Tensor
    y: Tensor
    w_true: Tensor
    w_nominal: Tensor
    snr: Tensor


def seismic_pairs(
    batch: int,
    shape: tuple[int, int] = (128, 64),
    seed: int = 0,
    mismatch: str | Mismatch = "in",
    snr_db: tuple[float, float] = (10.0, 30.0),
    taps: int = 51,
    dtype: torch.dtype = torch.float32,
    start: int = 0,
    surround: bool = False,
    split: str | None = None,
    sections: Sequence[Callable[[np.random.Generator, int, int], np.ndarray]] = (reflectivity_section,),
) -> SeismicBatch:
    """Draw seismic pairs; pair i depends on (seed, split, start + i) alone, never on the size of the batch.

    `y = a (w_true * r) / rms(w_true * r) + noise`, `x = a r / rms(w_true * r)`, a log-uniform in (0.5, 2).

    Args:
        batch: number of pairs B, at least 1.
        shape: (T, X), each at least 8.
        seed: 0 or more.
        mismatch: "none", "in", "out", "beyond", or a Mismatch.
        snr_db: range of the signal-to-noise ratio in dB, uniform.
        taps: length of the wavelets, odd.
        dtype: float32 or float64.
        start: index of the first pair.
        surround: False: nothing reflects outside the patch, so `y = w_true * x` is exact but for the noise.
            True: layers go on above and below, as in a patch cut from a survey, and their wavelets leak in.
        split: "train", "valid" or "test", which share no pair; None draws from a stream beside them.
        sections: what draws reflectivity [T, X] from (rng, samples, traces), each for every n-th pair.

    Returns:
        SeismicBatch on the CPU.

    Raises:
        InputError: an argument is out of range.
    """
    level = mismatch_level(mismatch)
    _check(batch, shape, seed, snr_db, dtype, start)
    pairs = []
    for index in range(start, start + batch):
        rng = np.random.default_rng([seed, index]) if split is None else generator(seed, split, index)
        pairs.append(_pair(rng, shape, level, snr_db, taps, surround, sections[index % len(sections)]))
    parts = (torch.from_numpy(np.stack(part)).to(dtype) for part in zip(*pairs, strict=True))
    x, y, w_true, w_nominal, snr = parts
    return SeismicBatch(x[:, None], y[:, None], w_true, w_nominal, snr)


def _pair(
    rng: np.random.Generator,
    shape: tuple[int, int],
    level: Mismatch,
    snr_db: tuple[float, float],
    taps: int,
    surround: bool,
    section: Callable[[np.random.Generator, int, int], np.ndarray],
) -> tuple[np.ndarray, ...]:
    true, nominal = draw_wavelets(rng, level)
    wavelet = true.sample(taps)
    samples, traces = shape
    halo = taps // 2 if surround else 0
    reflectivity = section(rng, samples + 2 * halo, traces)
    core = slice(halo, halo + samples)
    data = convolve_time(reflectivity, wavelet)[core]
    amplitude = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    # The floor only guards a patch of one thick homogeneous layer, where there is nothing to scale.
    scale = amplitude / max(rms(data), 1e-6)
    snr = float(rng.uniform(*snr_db))
    noise = noise_section(rng, shape, wavelet, float(rng.random()))
    y = scale * data + noise * (rms(scale * data) * 10 ** (-snr / 20))
    return scale * reflectivity[core], y, wavelet, nominal.sample(taps), np.float64(snr)


def draw_wavelets(rng: np.random.Generator, level: Mismatch) -> tuple[WaveletSpec, WaveletSpec]:
    """Draw (true, nominal) wavelets; half of the nominal ones are zero-phase, as a user's would be."""
    drawn = random_spec(rng)
    error = level.draw(rng)
    true = WaveletSpec(drawn.kind, drawn.frequency, drawn.phase - error.phase, drawn.length)
    return true, error.apply(true)


def _check(
    batch: int, shape: tuple[int, int], seed: int, snr_db: tuple[float, float], dtype: torch.dtype, start: int
) -> None:
    if batch < 1 or len(shape) != 2 or min(shape) < 8:
        raise InputError(describe("size of the pairs", f"batch {batch}, shape {tuple(shape)}",
                                  "batch of at least 1, (T, X) of at least 8 each", "Ask for more"))
    if seed < 0 or start < 0:
        raise InputError(describe("seed and start", (seed, start), "0 or more", "Pass non-negative integers"))
    if not snr_db[0] <= snr_db[1]:
        raise InputError(describe("snr_db", snr_db, "(low, high) in dB", "Order the two numbers"))
    if dtype not in (torch.float32, torch.float64):
        raise InputError(describe("dtype", dtype, "torch.float32 or torch.float64", "Pass one of these"))

"""A whole synthetic line with the truth that a field line never has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aafast.errors import InputError, describe

from .mismatch import Mismatch, WaveletError, mismatch_level
from .noise import convolve_time, noise_section, rms
from .reflectivity import reflectivity_section
from .wavelets import WaveletSpec


@dataclass(frozen=True)
class Line:
    """A synthetic line: truth, data, and the two wavelets.

    Attributes:
        reflectivity: r [T, X] float32, reflection coefficients.
        target: x = scale * gain * r [T, X] float32, the truth in the units of the data.
        data: y = w_true * x + noise [T, X] float32; dead traces are zero.
        wavelet_true, wavelet_nominal: [taps] float64, unit l2 norm.
        nominal_hz: peak frequency of the nominal wavelet, which is a zero-phase Ricker, in Hz.
        error: how the nominal wavelet is wrong.
        gain: amplitude decay left in the data [T], 1 at the middle of the line.
        dead: mask of dead traces [X] bool.
        dt: sample interval in seconds.
        snr_db: signal-to-noise ratio over the live traces in dB.
    """

    reflectivity: np.ndarray
    target: np.ndarray
    data: np.ndarray
    wavelet_true: np.ndarray
    wavelet_nominal: np.ndarray
    nominal_hz: float
    error: WaveletError
    gain: np.ndarray
    dead: np.ndarray
    dt: float
    snr_db: float


def synthetic_line(
    traces: int = 400,
    samples: int = 512,
    dt: float = 0.004,
    seed: int = 0,
    mismatch: str | Mismatch = "in",
    frequency: float = 30.0,
    snr_db: float = 15.0,
    faults: int | None = 6,
    dead: int = 3,
    decay: float = 0.6,
    amplitude: float = 2500.0,
    taps: int = 51,
) -> Line:
    """Synthesise a line: faulted layers, amplitude decay, uneven noise, dead traces, a wrong nominal wavelet.

    `y = w_true * x + noise`, `x[t, :] = scale gain(t) r[t, :]`, `gain = ((t + T/4) / (3 T/4)) ** -decay`, the
    residual of spherical spreading. A trace's noise level varies by about 20 %.

    Args:
        traces: X, at least 8.
        samples: T, at least 8.
        dt: sample interval in seconds.
        seed: 0 or more.
        mismatch: how wrong the nominal wavelet is: a level or a Mismatch.
        frequency: peak frequency of the nominal wavelet in Hz.
        snr_db: signal-to-noise ratio in dB over the live traces.
        faults: number of faults; None draws it.
        dead: number of dead traces, fewer than `traces`.
        decay: exponent of the amplitude decay, 0 for none.
        amplitude: RMS of the noise-free data, in the units of the file.
        taps: length of the wavelets, odd.

    Returns:
        Line.

    Raises:
        InputError: an argument is out of range.
    """
    if min(traces, samples) < 8 or not 0 <= dead < traces:
        raise InputError(describe("synthetic line", f"{samples} samples x {traces} traces, {dead} dead",
                                  "at least 8 x 8 and fewer dead traces than traces",
                                  "Ask for a larger line"))
    if not (amplitude > 0 and np.isfinite(snr_db)):
        raise InputError(describe("amplitude and snr_db", (amplitude, snr_db),
                                  "an amplitude above 0 and a finite ratio", "Change them"))
    rng = np.random.default_rng(seed)
    error = mismatch_level(mismatch).draw(rng)
    # Chosen so that the nominal wavelet is what a user would type: a zero-phase Ricker of plain length.
    true = WaveletSpec("ricker", frequency / (1 + error.frequency), -error.phase, 1 / (1 + error.length))
    nominal = error.apply(true)
    wavelet = true.sample(taps, dt)
    reflectivity = reflectivity_section(rng, samples, traces, faults=faults)
    gain = ((np.arange(samples) + samples / 4) / (0.75 * samples)) ** -decay
    target = reflectivity * gain[:, None]
    clean = convolve_time(target, wavelet)
    scale = amplitude / max(rms(clean), 1e-9)
    noise = noise_section(rng, (samples, traces), wavelet, white_share=0.5)
    noise *= np.exp(0.2 * rng.standard_normal(traces))
    is_dead = np.zeros(traces, bool)
    is_dead[rng.choice(traces, dead, replace=False)] = True
    live = ~is_dead
    noise *= rms(scale * clean[:, live]) / rms(noise[:, live]) * 10 ** (-snr_db / 20)
    data = np.where(is_dead, 0.0, scale * clean + noise)
    return Line(
        reflectivity=reflectivity,
        target=(scale * target).astype(np.float32),
        data=data.astype(np.float32),
        wavelet_true=wavelet,
        wavelet_nominal=nominal.sample(taps, dt),
        nominal_hz=nominal.frequency,
        error=error,
        gain=gain,
        dead=is_dead,
        dt=dt,
        snr_db=snr_db,
    )

"""Which phase a statistical wavelet has: zero, constant or minimum, by how spiky the data are without it."""

from __future__ import annotations

import math

import numpy as np

_RIDGE = 0.005  # of the largest |W|^2, in whitening
_ENOUGH = 400_000  # samples of a section looked at
_MARGIN = 1.02  # times the kurtosis of a simpler phase


def minimum_phase(amplitude: np.ndarray) -> np.ndarray:
    """Phase [F] (radians) of the minimum-phase wavelet with this amplitude spectrum [F] of an rfft.

    phi = -H(ln |W|), H the Hilbert transform, by the folded cepstrum; |W| is kept above 1e-3 of its peak.
    """
    size = 2 * (amplitude.size - 1)
    level = np.log(np.maximum(amplitude, 1e-3 * amplitude.max()))
    cepstrum = np.fft.irfft(level, size)
    cepstrum[1:size // 2] *= 2
    cepstrum[size // 2 + 1:] = 0
    return np.imag(np.fft.rfft(cepstrum))


def choose_phase(sections: list[np.ndarray], amplitude: np.ndarray, angle: float) -> np.ndarray:
    """The phase [F] (radians) whose removal leaves the data [T, X] with the largest kurtosis: zero, constant, minimum.

    Constant phase has to surpass zero phase by 2 %, minimum phase the better of both: a wavelet with more freedom fits
    noise better. amplitude: [F] of the wavelet. angle: radians, the constant phase that leaves the data most spiky.
    """
    best, chosen = 0.0, np.zeros(amplitude.size)
    for phase in (chosen, np.full(amplitude.size, angle), minimum_phase(amplitude)):
        kurtosis = _kurtosis(sections, amplitude, phase)
        if kurtosis > _MARGIN * best:
            best, chosen = kurtosis, phase
    return chosen


def _kurtosis(sections: list[np.ndarray], amplitude: np.ndarray, phase: np.ndarray) -> float:
    """mean r^4 / (mean r^2)^2 of the data r, whitened and rid of this phase."""
    fourth, second, count = 0.0, 0.0, 0
    for section in sections:
        section = section[:, :: math.ceil(section.size / _ENOUGH)]
        full = 2 ** math.ceil(math.log2(2 * section.shape[0]))
        at = np.linspace(0, amplitude.size - 1, full // 2 + 1)
        size = np.interp(at, np.arange(amplitude.size), amplitude)
        turn = np.interp(at, np.arange(amplitude.size), np.unwrap(phase))
        inverse = size / (size**2 + _RIDGE * size.max() ** 2) * np.exp(-1j * turn)
        power = np.fft.irfft(np.fft.rfft(section, full, axis=0) * inverse[:, None], full, axis=0)[: len(section)] ** 2
        fourth, second, count = fourth + float((power**2).sum()), second + float(power.sum()), count + power.size
    return fourth * count / max(second, 1e-30) ** 2

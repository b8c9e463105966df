"""Wavelets of unit l2 norm: Ricker, Ormsby, and the random family that training draws from.

All are centred: element `taps // 2` is time zero. `frequency` is in Hz with `dt` in seconds, or in cycles per
sample with `dt = 1`. A constant phase phi multiplies the positive frequencies by exp(i phi):
`w_phi = w cos(phi) - H[w] sin(phi)`, H the Hilbert transform, so pi / 2 turns a cosine into a minus sine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aafast.errors import InputError, describe

KINDS = ("ricker", "ormsby")
# Frequencies are sampled on a grid at least this long, so that a wavelet does not wrap round into its window.
_FFT = 512


@dataclass(frozen=True)
class WaveletSpec:
    """A wavelet by its parameters, so that one of them can be made wrong.

    Attributes:
        kind: "ricker" or "ormsby".
        frequency: dominant frequency, cycles per sample (or Hz, with `dt` in seconds when sampled).
        phase: constant phase in radians.
        length: duration relative to the family's plain member of the same frequency. A Ricker has the
            amplitude spectrum `((f/f0)^2 exp(1 - (f/f0)^2)) ** length**2`; an Ormsby's corners lie at
            `f0 * exp(octaves / length)`.
    """

    kind: str
    frequency: float
    phase: float = 0.0
    length: float = 1.0

    def sample(self, taps: int = 51, dt: float = 1.0) -> np.ndarray:
        """Return the wavelet as [taps] float64 of unit l2 norm."""
        _check(taps, dt)
        if self.kind not in KINDS:
            raise InputError(describe("kind of wavelet", repr(self.kind), " | ".join(KINDS),
                                      "Use one of these"))
        if not (self.frequency > 0 and self.length > 0):
            raise InputError(describe("wavelet", f"frequency {self.frequency}, length {self.length}",
                                      "both above 0", "Pass positive numbers"))
        if self.kind == "ormsby":
            f1, f2, f3, f4 = self.frequency * np.exp(_ORMSBY_CORNERS / self.length)
            return ormsby(f1, f2, f3, f4, dt=dt, taps=taps, phase=self.phase)
        size = _fft_size(taps)
        square = (np.fft.rfftfreq(size, dt) / self.frequency) ** 2
        return _from_spectrum((square * np.exp(1.0 - square)) ** self.length**2, size, taps, self.phase)


# Corners of the plain Ormsby relative to its centre, in powers of e: about 0.35, 0.65, 1.4, 2.2 times f0.
_ORMSBY_CORNERS = np.log([0.35, 0.65, 1.4, 2.2])


def ricker(frequency: float, dt: float, taps: int = 51, phase: float = 0.0) -> np.ndarray:
    """Sample a Ricker wavelet, `(1 - 2 a) exp(-a)`, `a = (pi f t)^2`, rotated by a constant phase.

    Args:
        frequency: peak of the amplitude spectrum, Hz.
        dt: sample interval, seconds.
        taps: odd number of samples.
        phase: constant phase, radians.

    Returns:
        [taps] float64 of unit l2 norm.

    Raises:
        InputError: an argument is out of range.
    """
    _check(taps, dt)
    if not 0 < frequency <= 0.5 / dt:
        raise InputError(describe("frequency of the Ricker wavelet", f"{frequency} Hz",
                                  f"above 0 and at most {0.5 / dt:g} Hz (Nyquist)",
                                  "Pass its peak frequency in Hz"))
    size = _fft_size(taps)
    a = (np.pi * frequency * dt * (np.arange(size) - size // 2)) ** 2
    return _from_spectrum(np.fft.rfft(np.fft.ifftshift((1.0 - 2.0 * a) * np.exp(-a))), size, taps, phase)


def ormsby(
    f1: float, f2: float, f3: float, f4: float, dt: float, taps: int = 51, phase: float = 0.0
) -> np.ndarray:
    """Sample an Ormsby wavelet: amplitude 0 below f1, rising to 1 at f2, flat to f3, falling to 0 at f4.

    Args:
        f1, f2, f3, f4: corners in Hz, 0 <= f1 < f2 <= f3 < f4; the part above Nyquist is cut off.
        dt: sample interval, seconds.
        taps: odd number of samples; a Hann-shaped edge over the outer fifth hides the cut of the long tails.
        phase: constant phase, radians.

    Returns:
        [taps] float64 of unit l2 norm.

    Raises:
        InputError: an argument is out of range.
    """
    _check(taps, dt)
    if not (0 <= f1 < f2 <= f3 < f4 and f2 < 0.5 / dt):
        raise InputError(describe("corners of the Ormsby wavelet", (f1, f2, f3, f4),
                                  f"0 <= f1 < f2 <= f3 < f4 with f2 below {0.5 / dt:g} Hz",
                                  "Order the corners"))
    size = _fft_size(taps)
    spectrum = np.interp(np.fft.rfftfreq(size, dt), [f1, f2, f3, f4], [0.0, 1.0, 1.0, 0.0])
    return normalise(_from_spectrum(spectrum, size, taps, phase) * _edge(taps))


def normalise(wavelet: np.ndarray) -> np.ndarray:
    """Scale a wavelet to unit l2 norm, so that data and reflectivity have similar RMS; refuse a zero one."""
    norm = float(np.linalg.norm(wavelet))
    if not (norm > 0 and np.isfinite(norm)):
        raise InputError(describe("norm of the wavelet", norm, "a finite number above 0",
                                  "Pass another wavelet"))
    return wavelet / norm


def rotate(wavelet: np.ndarray, phase: float) -> np.ndarray:
    """Turn a centred wavelet [taps] by a constant phase in radians; tails beyond its window are cut."""
    taps = len(wavelet)
    size = _fft_size(taps)
    padded = np.zeros(size)
    padded[size // 2 - taps // 2:size // 2 - taps // 2 + taps] = wavelet
    spectrum = np.fft.rfft(np.fft.ifftshift(padded))
    return _window(spectrum, size, taps, phase)


def random_spec(
    rng: np.random.Generator,
    frequency: tuple[float, float] = (0.05, 0.2),
    length: tuple[float, float] = (0.8, 1.25),
    ormsby_share: float = 0.35,
    zero_phase_share: float = 0.5,
) -> WaveletSpec:
    """Draw a wavelet's parameters.

    Args:
        rng: source of every random number.
        frequency: range of the dominant frequency in cycles per sample, log-uniform.
        length: range of the relative duration, log-uniform.
        ormsby_share: share of Ormsby wavelets; the others are Ricker.
        zero_phase_share: share with phase 0; the others are uniform in (-pi, pi).

    Returns:
        WaveletSpec in cycles per sample.
    """
    kind = "ormsby" if rng.random() < ormsby_share else "ricker"
    dominant = float(np.exp(rng.uniform(*np.log(frequency))))
    duration = float(np.exp(rng.uniform(*np.log(length))))
    turned = rng.random() >= zero_phase_share
    phase = float(rng.uniform(-np.pi, np.pi)) * turned
    return WaveletSpec(kind, dominant, phase, duration)


def random_wavelet(rng: np.random.Generator, taps: int = 51, **ranges: Any) -> np.ndarray:
    """Draw a wavelet [taps] of unit l2 norm; `ranges` as in `random_spec`."""
    return random_spec(rng, **ranges).sample(taps)


def _check(taps: int, dt: float) -> None:
    if taps < 3 or taps % 2 == 0:
        raise InputError(describe("taps of the wavelet", taps, "an odd number of at least 3",
                                  "Use for example 51"))
    if not (dt > 0 and np.isfinite(dt)):
        raise InputError(describe("sample interval dt", dt, "seconds, above 0", "Pass for example 0.004"))


def _fft_size(taps: int) -> int:
    return max(_FFT, 1 << (4 * taps).bit_length())


def _edge(taps: int) -> np.ndarray:
    """One inside, a squared cosine over the outer fifth of each side."""
    distance = np.abs(np.arange(taps) - taps // 2) / (taps // 2 + 1)
    return np.cos(0.5 * np.pi * np.clip((distance - 0.8) / 0.2, 0.0, 1.0)) ** 2


def _window(spectrum: np.ndarray, size: int, taps: int, phase: float) -> np.ndarray:
    """Inverse FFT of a centred wavelet's spectrum, turned by `phase`, cut to `taps` round time zero."""
    turned = spectrum * np.exp(1j * phase)
    # The mean has no phase to turn: only its real part can be kept.
    turned[0] = turned[0].real
    return np.roll(np.fft.irfft(turned, size), taps // 2)[:taps]


def _from_spectrum(spectrum: np.ndarray, size: int, taps: int, phase: float) -> np.ndarray:
    return normalise(_window(spectrum, size, taps, phase))

"""Noise at a stated signal-to-noise ratio: a white part and a part in the band of the signal."""

from __future__ import annotations

import numpy as np


def convolve_time(section: np.ndarray, wavelet: np.ndarray) -> np.ndarray:
    """`out[t] = sum_k w[k] section[t - (k - K//2)]`, zero outside, along the first axis of [T, ...].

    Args:
        section: [T, ...] real.
        wavelet: [K], K odd.

    Returns:
        [T, ...] float64.
    """
    samples, taps = len(section), len(wavelet)
    size = _smooth_size(samples + taps - 1)
    shape = (-1,) + (1,) * (section.ndim - 1)
    spectrum = np.fft.rfft(section, size, axis=0) * np.fft.rfft(wavelet, size).reshape(shape)
    return np.fft.irfft(spectrum, size, axis=0)[taps // 2:taps // 2 + samples]


def noise_section(
    rng: np.random.Generator, shape: tuple[int, int], wavelet: np.ndarray, white_share: float
) -> np.ndarray:
    """Draw unit-RMS noise whose energy is split between a white part and a part coloured by the wavelet.

    Args:
        rng: source of every random number.
        shape: (T, X).
        wavelet: [K], its amplitude spectrum colours the second part.
        white_share: share of the energy in the white part, 0 to 1.

    Returns:
        [T, X] float64 with RMS exactly 1.
    """
    white = rng.standard_normal(shape)
    coloured = convolve_time(rng.standard_normal(shape), wavelet)
    noise = np.sqrt(white_share) * _unit(white) + np.sqrt(1.0 - white_share) * _unit(coloured)
    return _unit(noise)


def rms(values: np.ndarray) -> float:
    """Root mean square of all values."""
    return float(np.sqrt(np.mean(np.square(values))))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / rms(values)


def _smooth_size(n: int) -> int:
    """Smallest 2^a 3^b 5^c that is at least n: a fast length for the FFT."""
    best = 1 << max(n - 1, 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            size = three << max(0, -(-n // three) - 1).bit_length()
            best = min(best, size)
            three *= 3
        five *= 5
    return best

"""Wavelets: formula, unit norm, dominant frequency, phase rotation, refusal of bad arguments."""

import numpy as np
import pytest

from aafast.data import WaveletSpec, normalise, ormsby, random_spec, random_wavelet, ricker, rotate
from aafast.errors import InputError


def spectrum(wavelet: np.ndarray, size: int = 4096) -> np.ndarray:
    """Spectrum with time zero at the middle element."""
    padded = np.zeros(size)
    padded[:len(wavelet)] = wavelet
    return np.fft.rfft(np.roll(padded, -(len(wavelet) // 2)))


def test_ricker_is_its_formula():
    t = (np.arange(101) - 50) * 0.004
    a = (np.pi * 30.0 * t) ** 2
    expected = (1 - 2 * a) * np.exp(-a)
    assert np.abs(ricker(30.0, 0.004, 101) - expected / np.linalg.norm(expected)).max() < 1e-14


@pytest.mark.parametrize("frequency", [15.0, 30.0, 60.0])
def test_ricker_peaks_at_its_frequency(frequency):
    got = np.abs(spectrum(ricker(frequency, 0.002, 151))).argmax() / (4096 * 0.002)
    assert abs(got - frequency) < 0.2


def test_ormsby_passes_its_band_only():
    amplitude = np.abs(spectrum(ormsby(8, 16, 40, 60, 0.002, 251)))
    f = np.arange(len(amplitude)) / (4096 * 0.002)
    inside = amplitude[(f > 19) & (f < 37)]
    assert inside.min() > 0.97 * inside.max()
    assert amplitude[(f < 4) | (f > 66)].max() < 0.02 * inside.max()


@pytest.mark.parametrize("phase", [-2.0, -np.pi / 2, 0.3, 1.2, np.pi])
def test_phase_is_the_phase_of_the_spectrum_in_the_band(phase):
    for wavelet in (ricker(30.0, 0.004, 101, phase), ormsby(10, 20, 40, 60, 0.004, 201, phase)):
        got = spectrum(wavelet)
        band = np.abs(got) > 0.5 * np.abs(got).max()
        assert np.abs(np.angle(got[band] * np.exp(-1j * phase))).max() < 0.02


def test_half_turn_is_a_change_of_sign_and_quarter_turn_is_odd():
    plain = ricker(25.0, 0.004, 51)
    assert np.allclose(ricker(25.0, 0.004, 51, np.pi), -plain, atol=1e-12)
    quarter = ricker(25.0, 0.004, 51, np.pi / 2)
    assert np.allclose(quarter, -quarter[::-1], atol=1e-12)
    # a cosine turned by a quarter is a minus sine: negative just after time zero
    assert quarter[26] < 0 < quarter[24]


def test_rotate_agrees_with_the_phase_argument():
    turned = rotate(ricker(30.0, 0.004, 101), 0.7)
    assert np.abs(normalise(turned) - ricker(30.0, 0.004, 101, 0.7)).max() < 1e-3


@pytest.mark.parametrize("taps", [3, 11, 51, 101])
def test_every_wavelet_has_unit_norm(taps):
    rng = np.random.default_rng(0)
    wavelets = [random_wavelet(rng, taps) for _ in range(20)]
    wavelets += [ricker(30, 0.004, taps, 0.4), ormsby(8, 16, 40, 60, 0.004, taps)]
    for wavelet in wavelets:
        assert wavelet.shape == (taps,)
        assert abs(np.linalg.norm(wavelet) - 1) < 1e-12


def test_spec_of_plain_length_is_the_plain_ricker():
    # 20 Hz at 4 ms has nothing left at Nyquist, so sampling in time and in frequency agree
    got = WaveletSpec("ricker", 20.0, 0.5).sample(101, 0.004)
    assert np.abs(got - ricker(20.0, 0.004, 101, 0.5)).max() < 1e-12


@pytest.mark.parametrize("kind", ["ricker", "ormsby"])
def test_length_sets_the_duration_and_keeps_the_dominant_frequency(kind):
    t = np.arange(201) - 100

    def duration(wavelet):
        return np.sqrt((t**2 * wavelet**2).sum())

    plain, long = (WaveletSpec(kind, 0.1, 0.0, length).sample(201) for length in (1.0, 1.5))
    assert 1.25 < duration(long) / duration(plain) < 1.8
    f = np.arange(2049) / 4096

    def centre(wavelet):
        power = np.abs(spectrum(wavelet)) ** 2
        return (f * power).sum() / power.sum()

    assert abs(centre(long) / centre(plain) - 1) < 0.1


def test_random_specs_stay_in_their_ranges():
    rng = np.random.default_rng(1)
    specs = [random_spec(rng, frequency=(0.06, 0.15), length=(0.9, 1.1)) for _ in range(400)]
    assert all(0.06 <= s.frequency <= 0.15 and 0.9 <= s.length <= 1.1 for s in specs)
    assert all(abs(s.phase) <= np.pi for s in specs)
    assert 0.27 < np.mean([s.kind == "ormsby" for s in specs]) < 0.43
    assert 0.42 < np.mean([s.phase == 0 for s in specs]) < 0.58


@pytest.mark.parametrize("call", [
    lambda: ricker(0.0, 0.004),
    lambda: ricker(float("nan"), 0.004),
    lambda: ricker(130.0, 0.004),
    lambda: ricker(30.0, 0.0),
    lambda: ricker(30.0, 0.004, 50),
    lambda: ricker(30.0, 0.004, 1),
    lambda: ormsby(20, 10, 40, 60, 0.004),
    lambda: ormsby(130, 140, 150, 160, 0.004),
    lambda: normalise(np.zeros(5)),
    lambda: normalise(np.array([1.0, np.nan])),
    lambda: WaveletSpec("gabor", 0.1).sample(),
    lambda: WaveletSpec("ricker", -0.1).sample(),
])
def test_bad_arguments_are_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()

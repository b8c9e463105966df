"""Zero, constant or minimum phase: each is recognised in data that have it."""

import numpy as np
import pytest

from aafast.survey.wavelet import estimate_wavelet, make_wavelet, ricker
from aafast.survey.wavelet_phase import minimum_phase

from .test_wavelet_estimate import alike, rotated


def data_of(wavelet, seed):
    """Sparse reflectivity under a wavelet centred in its taps, with noise."""
    rng = np.random.default_rng(seed)
    spikes = rng.laplace(size=(512, 60)) * (rng.random((512, 60)) < 0.3)
    half = wavelet.size // 2
    data = np.stack([np.convolve(trace, wavelet)[half:half + 512] for trace in spikes.T], 1)
    return data + 0.05 * data.std() * rng.standard_normal(data.shape)


def minimum(hz):
    """The minimum-phase wavelet with a Ricker's spectrum, its onset at the centre of 101 taps."""
    amplitude = np.abs(np.fft.rfft(ricker(hz, 4.0).samples, 1024))
    return np.pad(np.fft.irfft(amplitude * np.exp(1j * minimum_phase(amplitude)), 1024)[:51], (50, 0))


def test_minimum_phase_is_that_of_a_known_filter():
    # (1 - 0.6 z)(1 + 0.5 z) has its zeros outside the unit circle in z: of all filters with its spectrum its energy
    # comes first.
    taps = np.convolve([1, -0.6], [1, 0.5])
    spectrum = np.fft.rfft(taps, 256)
    assert np.allclose(np.exp(1j * minimum_phase(np.abs(spectrum))), spectrum / np.abs(spectrum), atol=1e-6)
    late = np.fft.rfft(taps[::-1], 256)
    assert np.allclose(minimum_phase(np.abs(late)), minimum_phase(np.abs(spectrum)), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_zero_and_constant_phase_are_recognised(seed):
    zero = estimate_wavelet(data_of(ricker(25, 4.0).samples, seed), 4.0, phase="auto", colour=0.0)
    assert abs(zero.phase) < 1e-3 and np.allclose(zero.samples, zero.samples[::-1], atol=1e-6)
    for degrees in (45, -70):
        truth = rotated(ricker(30, 4.0).samples, degrees)
        data = data_of(truth, seed)
        found = estimate_wavelet(data, 4.0, phase="auto", colour=0.0)
        assert np.array_equal(found.samples, estimate_wavelet(data, 4.0, phase="constant", colour=0.0).samples)
        assert abs(alike(found.samples, truth)) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_minimum_phase_is_recognised_and_fits_better_than_a_constant_one(seed):
    truth = minimum(40)
    data = data_of(truth, seed)
    auto, constant = (estimate_wavelet(data, 4.0, phase=p, colour=0.0).samples for p in ("auto", "constant"))
    centred = make_wavelet(truth[25:76], 4.0, "truth").samples
    assert abs(alike(auto, centred)) > 0.9 and abs(alike(auto, centred)) > abs(alike(constant, centred)) + 0.05
    before = float((auto[:20] ** 2).sum())
    assert before < 0.02  # nothing comes before the onset


def test_normal_noise_has_zero_phase_also_by_choice():
    noise = np.random.default_rng(1).standard_normal((512, 60))
    data = np.stack([np.convolve(trace, minimum(30), "same") for trace in noise.T], 1)
    found = estimate_wavelet(data, 4.0, phase="auto")
    assert abs(found.phase) < 1e-3 and "zero phase" in found.notes[0]

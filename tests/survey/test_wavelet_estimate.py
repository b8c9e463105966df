"""Wavelets: Ricker by formula, estimate of spectrum and constant phase, description, bad input."""

import math

import numpy as np
import pytest

from aafast.errors import InputError
from aafast.survey.wavelet import describe_spectrum, estimate_wavelet, make_wavelet, ricker
from aafast.survey.wavelet_file import parse_wavelet


def rotated(taps: np.ndarray, degrees: float) -> np.ndarray:
    spectrum = np.fft.rfft(taps, 1024)
    spectrum[1:-1] *= np.exp(1j * math.radians(degrees))
    return np.fft.irfft(spectrum, 1024)[: taps.size]


def sparse_data(taps, samples=512, traces=60, noise=0.05, seed=0):
    """Spiky reflectivity (kurtosis near that of wells) under a wavelet, with white noise."""
    rng = np.random.default_rng(seed)
    spikes = rng.laplace(size=(samples, traces)) * (rng.random((samples, traces)) < 0.3)
    data = np.stack([np.convolve(trace, taps, "same") for trace in spikes.T], 1)
    return data + noise * data.std() * rng.standard_normal(data.shape)


def alike(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("degrees", [-60, -25, 0, 40, 70])
@pytest.mark.parametrize("hz", [20, 35])
def test_spectrum_and_phase_are_found(hz, degrees):
    truth = rotated(ricker(hz, 4.0).samples, degrees)
    found = estimate_wavelet(sparse_data(truth), 4.0, colour=0.0)
    assert abs((found.phase - degrees + 90) % 180 - 90) < 15
    assert abs(found.dominant - hz) < 0.15 * hz
    # A constant phase is known up to 180 degrees: the larger lobe is made positive.
    assert abs(alike(found.samples, truth)) > 0.95
    assert not found.notes


def test_zero_phase_is_symmetric_and_ignores_the_data_s_phase():
    found = estimate_wavelet(sparse_data(rotated(ricker(25, 4.0).samples, 50)), 4.0, phase="zero")
    assert np.allclose(found.samples, found.samples[::-1], atol=1e-6) and abs(found.phase) < 1e-3


def test_normal_noise_has_no_phase_and_the_wavelet_says_so():
    rng = np.random.default_rng(1)
    taps = ricker(25, 4.0).samples
    data = np.stack(
        [np.convolve(trace, rotated(taps, 60), "same") for trace in rng.standard_normal((60, 512))], 1
    )
    found = estimate_wavelet(data, 4.0)
    assert abs(found.phase) < 1e-3 and "zero phase" in found.notes[0]


def test_colour_of_reflectivity_is_taken_out():
    data = sparse_data(ricker(25, 4.0).samples)
    plain, coloured = (estimate_wavelet(data, 4.0, colour=c) for c in (0.0, 0.36))
    assert coloured.dominant < plain.dominant


def test_polarity_makes_the_main_lobe_positive_or_negative():
    data = sparse_data(ricker(25, 4.0).samples)
    normal, reverse = (estimate_wavelet(data, 4.0, polarity=p) for p in (1, -1))
    assert normal.samples[normal.samples.size // 2] > 0
    assert np.array_equal(normal.samples, -reverse.samples)


def test_dead_traces_and_scale_do_not_matter():
    data = sparse_data(ricker(25, 4.0).samples)
    wide = np.concatenate([data, np.full((512, 7), np.nan)], 1)
    live = np.arange(67) < 60
    expected = estimate_wavelet(data, 4.0)
    assert np.array_equal(estimate_wavelet(wide, 4.0, live=live).samples, expected.samples)
    assert np.allclose(estimate_wavelet(1e4 * data, 4.0).samples, expected.samples, atol=1e-5)


def test_several_sections_give_one_wavelet():
    truth = rotated(ricker(30, 4.0).samples, 35)
    parts = [sparse_data(truth, traces=20, seed=k) for k in range(3)]
    assert alike(estimate_wavelet(parts, 4.0, colour=0.0).samples, truth) > 0.95


@pytest.mark.parametrize("samples", [16, 51, 52, 60])
def test_short_traces_still_give_a_finite_wavelet(samples):
    taps = min(51, samples - 1 + samples % 2)
    found = estimate_wavelet(np.random.default_rng(0).standard_normal((samples, 9)), 4.0, taps)
    assert found.samples.size == taps and np.isfinite(found.samples).all()
    assert np.linalg.norm(found.samples) == pytest.approx(1, abs=1e-6)


def test_estimate_refuses_what_it_cannot_use():
    data = sparse_data(ricker(25, 4.0).samples, samples=128, traces=4)
    with pytest.raises(InputError, match="dead"):
        estimate_wavelet(np.zeros((128, 4)), 4.0)
    with pytest.raises(InputError, match="dead"):
        estimate_wavelet(data, 4.0, live=np.zeros(4, bool))
    with pytest.raises(InputError, match="at most the 128 of a trace"):
        estimate_wavelet(data, 4.0, taps=201)
    with pytest.raises(InputError, match="phase"):
        estimate_wavelet(data, 4.0, phase="minimum")


def test_ricker_is_the_formula_at_unit_norm():
    wavelet = ricker(25, 2.0)
    a = (np.pi * 25 * wavelet.time / 1000) ** 2
    expected = (1 - 2 * a) * np.exp(-a)
    assert np.allclose(wavelet.samples, expected / np.linalg.norm(expected), atol=1e-7)
    assert wavelet.dominant == pytest.approx(25, abs=1) and abs(wavelet.phase) < 1e-6
    assert wavelet.samples.size == 53  # a low frequency needs more than 51 taps
    low, high = wavelet.band
    assert low < 25 < high


@pytest.mark.parametrize("hz", [0, -5, 125, float("nan"), float("inf")])
def test_ricker_outside_the_band_of_the_data_is_refused(hz):
    with pytest.raises(InputError, match="Nyquist"):
        ricker(hz, 4.0)


@pytest.mark.parametrize("degrees", [-120, -45, 0, 90, 150])
def test_phase_of_a_wavelet_is_measured(degrees):
    phase, peak, _ = describe_spectrum(rotated(np.pad(ricker(30, 4.0).samples, 100), degrees), 4.0)
    assert phase == pytest.approx(degrees, abs=1) and peak == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    "taps", [np.ones(4), np.ones((3, 3)), np.zeros(5), np.array([1, np.nan, 2.0]), np.ones(1)]
)
def test_taps_that_are_no_wavelet_are_refused(taps):
    with pytest.raises(InputError, match="expected"):
        make_wavelet(taps, 4.0, "given")


def test_words_on_the_command_line():
    assert parse_wavelet("auto", 4.0, 500) is None
    assert parse_wavelet("ricker:30", 4.0, 500).dominant == pytest.approx(30, abs=1)
    flipped = parse_wavelet("ricker:30", 4.0, 500, polarity=-1)
    assert flipped.samples[flipped.samples.size // 2] < 0
    for spec in ("ricker", "ricker:", "ricker:ten", "ricker:1e9"):
        with pytest.raises(InputError, match="icker"):
            parse_wavelet(spec, 4.0, 500)
    with pytest.raises(InputError, match="at most the 50 of a trace"):
        parse_wavelet("ricker:30", 4.0, 50)

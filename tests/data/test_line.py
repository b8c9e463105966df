"""Synthetic lines: forward model, noise level, decay, dead traces, nominal wavelet, seeds."""

import numpy as np
import pytest

from aafast.data import Mismatch, ricker, synthetic_line
from aafast.errors import InputError


def convolve(section: np.ndarray, wavelet: np.ndarray) -> np.ndarray:
    return np.stack([np.convolve(trace, wavelet, "same") for trace in section.T.astype(np.float64)], 1)


def test_data_are_the_true_wavelet_on_the_target_plus_noise_at_the_stated_level():
    line = synthetic_line(60, 256, seed=1, snr_db=14.0, dead=2)
    live = ~line.dead
    signal = convolve(line.target, line.wavelet_true)[:, live]
    noise = line.data[:, live] - signal
    assert abs(10 * np.log10((signal**2).sum() / (noise**2).sum()) - 14.0) < 1e-3
    assert abs(np.sqrt((convolve(line.target, line.wavelet_true) ** 2).mean()) / 2500.0 - 1) < 1e-4


def test_target_is_the_reflectivity_under_a_falling_gain():
    line = synthetic_line(30, 200, seed=2, decay=0.6)
    scale = line.target[:, 5] / (line.reflectivity[:, 5] * line.gain)
    assert np.allclose(scale, scale[0], rtol=1e-4)
    assert (np.diff(line.gain) < 0).all() and abs(line.gain[100] - 1) < 1e-12
    assert line.gain[0] / line.gain[-1] == pytest.approx(5.0**0.6, rel=0.02)


def test_dead_traces_are_zero_and_counted():
    line = synthetic_line(50, 64, seed=3, dead=4)
    assert line.dead.sum() == 4 and (line.data[:, line.dead] == 0).all()
    assert (np.abs(line.data[:, ~line.dead]).max(0) > 0).all()
    assert synthetic_line(50, 64, seed=3, dead=0).dead.sum() == 0


def test_nominal_wavelet_is_a_zero_phase_ricker_wrong_by_the_stated_error():
    wrong = Mismatch((0.2, 0.2), (0.6, 0.6), (0.1, 0.1))
    line = synthetic_line(20, 64, seed=4, mismatch=wrong, frequency=30.0)
    assert np.abs(line.wavelet_nominal - ricker(line.nominal_hz, line.dt, 51)).max() < 1e-4
    assert line.nominal_hz == pytest.approx(30.0)
    assert abs(line.error.frequency) == pytest.approx(0.2) and abs(line.error.phase) == pytest.approx(0.6)
    right = synthetic_line(20, 64, seed=4, mismatch="none")
    assert np.array_equal(right.wavelet_nominal, right.wavelet_true)


@pytest.mark.parametrize("shape", [(8, 8), (700, 33), (31, 1500)])
def test_sizes_and_seeds(shape):
    traces, samples = shape
    a, b, c = (synthetic_line(traces, samples, seed=seed, dead=1) for seed in (5, 5, 6))
    assert a.data.shape == a.target.shape == (samples, traces) and a.data.dtype == np.float32
    assert np.isfinite(a.data).all() and np.array_equal(a.data, b.data) and not np.array_equal(a.data, c.data)


@pytest.mark.parametrize("options", [
    {"traces": 7}, {"samples": 7}, {"dead": 8}, {"dead": -1}, {"amplitude": 0.0}, {"snr_db": float("nan")},
    {"frequency": -1.0}, {"mismatch": "bad"},
])
def test_bad_arguments_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        synthetic_line(**{"traces": 8, "samples": 8, "dead": 1, **options})

"""Baselines against small dense solutions, and the choice of their parameters."""

import numpy as np
import pytest

from aafast.data import ricker, rotate, seismic_pairs
from aafast.errors import InputError, MissingDependency
from aafast.evaluation import fista, quality, tune, wiener

pytest.importorskip("pylops")
W = ricker(30.0, 0.004, 21, phase=0.4)


def matrix(wavelet: np.ndarray, samples: int) -> np.ndarray:
    """A[t, s] = w[t - s + K//2]."""
    lag = np.arange(samples)[:, None] - np.arange(samples) + len(wavelet) // 2
    return np.where((lag >= 0) & (lag < len(wavelet)), wavelet[np.clip(lag, 0, len(wavelet) - 1)], 0.0)


@pytest.fixture(scope="module")
def problem():
    """Sparse spikes [60, 3], their noisy data, the dense operator."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)) * (rng.random((60, 3)) < 0.15)
    a = matrix(W, 60)
    return x, a @ x + 0.02 * rng.standard_normal(x.shape), a


@pytest.mark.parametrize("sparsity", [0.05, 0.3])
def test_fista_reaches_the_minimum_that_plain_thresholding_reaches(problem, sparsity):
    _, y, a = problem
    weight = sparsity * np.sqrt((y**2).mean())
    step = 1 / np.linalg.norm(a, 2) ** 2
    x = np.zeros_like(y)
    for _ in range(20_000):
        x = x - step * a.T @ (a @ x - y)
        x = np.sign(x) * np.maximum(np.abs(x) - step * weight, 0)
    got = fista(y, W, sparsity, 3000)

    def cost(z):
        return 0.5 * ((a @ z - y) ** 2).sum() + weight * np.abs(z).sum()

    assert abs(cost(got) / cost(x) - 1) < 1e-5
    assert np.abs(got - x).max() < 0.01 * np.abs(x).max()


def test_fista_makes_zeros_and_finds_the_spikes(problem):
    x, y, _ = problem
    got = fista(y, W, 0.1, 500)
    assert (got == 0).mean() > 0.5
    assert quality(x[None], got[None])[0] > quality(x[None], y[None])[0] + 3


def test_wiener_is_the_dense_least_squares_filter(problem):
    _, y, _ = problem
    taps, damping = len(W), 0.05
    # column j of the matrix is the wavelet delayed by j; the target is a spike at time zero of both
    size = 2 * taps + 1
    full = np.zeros((size + taps - 1, size))
    for j in range(size):
        full[j:j + taps, j] = W
    spike = np.zeros(size + taps - 1)
    spike[taps + taps // 2] = 1
    g = np.linalg.solve(full.T @ full + damping * (W @ W) * np.eye(size), full.T @ spike)
    padded = np.pad(y, ((taps, taps), (0, 0)))
    expected = np.stack([np.convolve(trace, g, "valid") for trace in padded.T], 1)
    got = wiener(y, W, damping)
    assert got.shape == y.shape
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(21, 8), (100, 1), (22, 20)])
def test_both_keep_time_and_polarity_of_a_spike(shape):
    """Also where the wavelet is as long as the trace."""
    x = np.zeros(shape)
    x[5] = -1.0
    for wavelet in (W, rotate(W, 1.0)):
        y = matrix(wavelet, shape[0]) @ x
        for estimate in (fista(y, wavelet, 0.05, 200), wiener(y, wavelet, 0.05)):
            assert estimate.dtype == np.float32 and estimate.shape == shape
            assert (np.abs(estimate).argmax(0) == 5).all() and (estimate[5] < 0).all()


def test_scale_of_the_data_carries_through_and_dead_data_stay_dead(problem):
    _, y, _ = problem
    for method in (fista, wiener):
        assert np.allclose(method(1e4 * y, W), 1e4 * method(y, W), rtol=1e-3, atol=1.0)
        assert not method(np.zeros((30, 4)), W).any()


def test_tune_takes_the_candidate_of_best_quality_on_its_examples():
    b = seismic_pairs(3, (64, 8), 5, snr_db=(15.0, 15.0))
    examples = [(b.x[i, 0].numpy(), b.y[i, 0].numpy(), b.w_nominal[i].numpy()) for i in range(3)]
    grid = (0.01, 0.1, 10.0)
    got = tune(examples, 30, grid, grid)
    for method, chosen, score in ((lambda y, w, p: fista(y, w, p, 30), got.sparsity, got.quality_fista),
                                  (wiener, got.damping, got.quality_wiener)):
        scores = {p: np.mean([quality(x[None], method(y, w, p)[None]) for x, y, w in examples]) for p in grid}
        assert scores[chosen] == max(scores.values()) and score == pytest.approx(max(scores.values()))
    assert 10.0 not in (got.sparsity, got.damping)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pylops.signalprocessing", None)
    with pytest.raises(MissingDependency, match=r"aafast\[baselines\]"):
        fista(np.ones((30, 2)), W)


@pytest.mark.parametrize("call", [
    lambda: fista(np.ones(8), W),
    lambda: fista(np.full((8, 8), np.nan), W),
    lambda: fista(np.ones((8, 8)), W[:-1]),
    lambda: fista(np.ones((20, 8)), W),
    lambda: fista(np.ones((8, 8)), np.zeros(5)),
    lambda: fista(np.ones((8, 8)), W, 0.0),
    lambda: fista(np.ones((8, 8)), W, 0.1, 0),
    lambda: wiener(np.ones((8, 8)), W, -1.0),
    lambda: tune([]),
])
def test_bad_arguments_are_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()

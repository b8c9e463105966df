"""Metrics against hand values, loops and scipy; dead and constant inputs; scale."""

import numpy as np
import pytest
import torch

from aafast.errors import InputError
from aafast.evaluation.metrics import compare, correlation, fit_scale, mse, psnr, quality, snr, ssim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 20, 15))
E = X + 0.3 * RNG.standard_normal((4, 20, 15))


def test_hand_values():
    x, e = np.array([[3.0, -4.0]]), np.array([[3.0, -2.0]])
    assert psnr(x, e)[0] == pytest.approx(10 * np.log10(16 / 2))
    assert snr(x, e)[0] == pytest.approx(10 * np.log10(25 / 4))
    assert correlation(x, e)[0] == pytest.approx(17 / (5 * np.sqrt(13)))
    assert fit_scale(x, e)[0] == pytest.approx(17 / 13)
    rest = np.array([3 - 17 / 13 * 3, -4 + 17 / 13 * 2])
    assert quality(x, e)[0] == pytest.approx(10 * np.log10(25 / (rest @ rest)))


def test_peak_is_the_signed_one():
    x = np.array([[1.0, -10.0]])
    assert psnr(x, x + 1)[0] == pytest.approx(20.0)


def test_each_sample_by_itself_against_loops():
    for name, function in {"psnr": psnr, "snr": snr, "correlation": correlation, "quality": quality}.items():
        got = function(X, E)
        for i in range(4):
            x, e = X[i].ravel(), E[i].ravel()
            gamma = sum(x * e) / np.sqrt(sum(x * x) * sum(e * e))
            expected = {
                "psnr": 10 * np.log10(max(abs(x)) ** 2 / (sum((x - e) ** 2) / len(x))),
                "snr": 10 * np.log10(sum(x * x) / sum((x - e) ** 2)),
                "correlation": gamma,
                "quality": -10 * np.log10(1 - gamma**2),
            }[name]
            assert got[i] == pytest.approx(expected, rel=1e-10)


def test_correlation_agrees_with_scipy_on_zero_mean_data():
    stats = pytest.importorskip("scipy.stats")
    x, e = (a.reshape(4, -1) - a.reshape(4, -1).mean(1, keepdims=True) for a in (X, E))
    for i in range(4):
        assert correlation(x, e)[i] == pytest.approx(stats.pearsonr(x[i], e[i])[0], rel=1e-10)


@pytest.mark.parametrize("shape", [(20, 15), (11, 11), (8, 9), (30, 12)])
def test_ssim_agrees_with_a_loop_over_windows(shape):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, *shape))
    e = x + 0.5 * rng.standard_normal((2, *shape))
    sizes = [min(11, n if n % 2 else n - 1) for n in shape]
    g = [np.exp(-((np.arange(n) - n // 2) ** 2) / (2 * 1.5**2)) for n in sizes]
    window = np.outer(*g) / np.outer(*g).sum()
    for i in range(2):
        span = x[i].max() - x[i].min()
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        values = []
        for t in range(shape[0] - sizes[0] + 1):
            for s in range(shape[1] - sizes[1] + 1):
                a, b = (z[i, t:t + sizes[0], s:s + sizes[1]] for z in (x, e))
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                c = (window * (a - ma) * (b - mb)).sum()
                values.append((2 * ma * mb + c1) * (2 * c + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
        assert ssim(x, e)[i] == pytest.approx(np.mean(values), rel=1e-9)
    assert np.array_equal(ssim(x, e), ssim(x[:, None], e[:, None]))


def test_ssim_of_colours_is_the_mean_over_channels_with_one_span():
    rng = np.random.default_rng(2)
    x, e = rng.random((2, 3, 16, 14)), rng.random((2, 3, 16, 14))
    each = np.mean([ssim(x[:, c], e[:, c], span=1.0) for c in range(3)], axis=0)
    assert np.allclose(ssim(x, e, span=1.0), each, rtol=1e-12)
    spans = np.ptp(x.reshape(2, -1), axis=1)
    one = [np.mean([ssim(x[i:i + 1, c], e[i:i + 1, c], span=spans[i])[0] for c in range(3)]) for i in range(2)]
    assert np.allclose(ssim(x, e), one, rtol=1e-12) and not np.allclose(ssim(x, e), each)


def test_a_constant_truth_has_a_ssim_where_the_span_is_given():
    flat = np.full((1, 3, 12, 12), 0.5)
    assert ssim(flat, flat, span=1.0)[0] == pytest.approx(1.0)
    assert 0.9 < ssim(flat, flat + 0.1, span=1.0)[0] < 1.0 and ssim(flat, flat + 0.1)[0] == 0


def test_the_peak_may_be_stated():
    x = np.full((2, 10), 0.25)
    assert psnr(x, x + 0.1, peak=1.0) == pytest.approx(20.0)
    assert psnr(x, x + 0.1) == pytest.approx(20.0 + 20 * np.log10(0.25))
    assert mse(x, x + 0.1) == pytest.approx(0.01)


def test_ssim_of_itself_is_one_and_falls_with_noise():
    one = ssim(X, X)
    assert np.allclose(one, 1.0, atol=1e-12)
    assert (ssim(X, E) < one).all() and (ssim(X, X + 3 * (E - X)) < ssim(X, E)).all()


def test_perfect_estimates():
    assert np.isposinf(psnr(X, X)).all() and np.isposinf(snr(X, X)).all()
    assert np.allclose(correlation(X, X), 1.0)
    assert (quality(X, 2 * X) > 250).all()


@pytest.mark.filterwarnings("error")
def test_dead_and_constant_inputs_do_not_divide_by_zero():
    zero, one = np.zeros((1, 12, 12)), np.ones((1, 12, 12))
    ramp = np.arange(144.0).reshape(1, 12, 12)
    for x, e in ((zero, ramp), (ramp, zero), (zero, zero), (one, one), (one, ramp)):
        for function in (psnr, snr, correlation, quality, fit_scale, ssim):
            assert not np.isnan(function(x, e)).any()
    assert psnr(zero, ramp)[0] == -np.inf and psnr(zero, zero)[0] == np.inf
    assert correlation(zero, ramp)[0] == correlation(ramp, zero)[0] == 0
    assert quality(zero, ramp)[0] == quality(ramp, zero)[0] == 0
    assert fit_scale(ramp, zero)[0] == 0
    assert ssim(one, one)[0] == 1 and ssim(one, ramp)[0] == 0


def test_nan_is_not_hidden():
    bad = E.copy()
    bad[2, 3, 3] = np.nan
    for function in (psnr, snr, correlation, quality, ssim):
        assert np.isnan(function(X, bad)).tolist() == [False, False, True, False]


def test_scale_is_explicit():
    small = 0.01 * E
    plain, fitted = compare(X, small, "none"), compare(X, small)
    assert np.allclose(plain["scale"], 1) and np.allclose(fitted["scale"], 100 * fit_scale(X, E))
    assert (fitted["psnr"] > plain["psnr"] + 3).all()
    assert np.allclose(fitted["snr"], quality(X, E)) and np.allclose(plain["quality"], quality(X, E))
    flipped = compare(X, -E)
    assert (flipped["scale"] < 0).all() and (flipped["correlation"] < 0).all()


def test_tensors_and_low_precision_are_accepted():
    x, e = (torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in (X, E))
    assert np.allclose(psnr(x, e), psnr(X, E), rtol=1e-5)
    assert np.allclose(psnr((100 * X).astype(np.int16), (100 * E).astype(np.int16)), psnr(X, E), atol=0.5)


@pytest.mark.parametrize("call", [
    lambda: psnr(X, E[:, :-1]),
    lambda: psnr(X[0, 0], E[0, 0]),
    lambda: psnr(np.zeros((0, 4)), np.zeros((0, 4))),
    lambda: snr(X + 1j, E),
    lambda: ssim(X.reshape(4, -1), E.reshape(4, -1)),
    lambda: ssim(X.reshape(1, 1, 4, 20, 15), E.reshape(1, 1, 4, 20, 15)),
    lambda: ssim(X, E, span=0.0),
    lambda: compare(X, E, "best"),
])
def test_bad_arguments_are_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()

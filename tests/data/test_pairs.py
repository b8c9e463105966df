"""Pairs: determinism, independence of the batch, forward model, noise, mismatch, splits."""

import numpy as np
import pytest
import torch

from aafast.data import LEVELS, Mismatch, WaveletSpec, mismatch_level, seismic_pairs
from aafast.errors import InputError


def convolve(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The contract's sum written out: (A x)[t] = sum_k w[k] x[t - (k - K//2)], zero outside."""
    out = torch.zeros_like(x)
    samples, taps = x.shape[2], w.shape[1]
    for k in range(taps):
        shift = k - taps // 2
        lo, hi = max(0, shift), min(samples, samples + shift)
        if lo < hi:
            out[:, :, lo:hi] += w[:, k, None, None, None] * x[:, :, lo - shift:hi - shift]
    return out


def test_same_seed_same_numbers_and_other_seed_other_numbers():
    a, b, c = (seismic_pairs(3, (32, 16), seed) for seed in (7, 7, 8))
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(a, c, strict=True))


def test_a_pair_does_not_depend_on_its_batch():
    whole = seismic_pairs(5, (40, 24), 3)
    for i in range(5):
        alone = seismic_pairs(1, (40, 24), 3, start=i)
        assert all(torch.equal(p[i:i + 1], q) for p, q in zip(whole, alone, strict=True))


@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (128, 64), (200, 8)])
def test_shapes_dtypes_units(shape):
    for dtype in (torch.float32, torch.float64):
        b = seismic_pairs(4, shape, 1, dtype=dtype, taps=31)
        assert b.x.shape == b.y.shape == (4, 1, *shape)
        assert b.w_true.shape == b.w_nominal.shape == (4, 31) and b.snr.shape == (4,)
        assert all(part.dtype == dtype and torch.isfinite(part).all() for part in b)
        for w in (b.w_true, b.w_nominal):
            assert torch.allclose(w.norm(dim=1), torch.ones(4, dtype=dtype), atol=1e-6)


@pytest.mark.parametrize("shape", [(128, 64), (24, 9)])
def test_noise_has_the_stated_level(shape):
    b = seismic_pairs(8, shape, 2, snr_db=(3.0, 25.0), dtype=torch.float64)
    signal = convolve(b.x, b.w_true)
    noise = b.y - signal
    measured = 10 * torch.log10(signal.square().sum((1, 2, 3)) / noise.square().sum((1, 2, 3)))
    assert torch.allclose(measured, b.snr, atol=1e-6)
    assert (b.snr >= 3).all() and (b.snr <= 25).all()


def test_signal_amplitude_is_near_one_with_jitter():
    b = seismic_pairs(200, (32, 16), 4, dtype=torch.float64)
    level = convolve(b.x, b.w_true).square().mean((1, 2, 3)).sqrt()
    assert level.min() > 0.499 and level.max() < 2.001
    assert 0.85 < level.log().mean().exp() < 1.18


def test_noise_is_partly_white_and_partly_in_the_band():
    """Between the two extremes: some energy above the band, more energy inside it."""
    b = seismic_pairs(60, (128, 16), 5, dtype=torch.float64)
    noise = torch.fft.rfft((b.y - convolve(b.x, b.w_true))[:, 0], dim=1).abs().square().mean(2)
    noise = noise / noise.mean(1, keepdim=True)
    band = torch.fft.rfft(b.w_true, 128, dim=1).abs()
    inside = torch.stack([n[q > 0.7 * q.max()].mean() for n, q in zip(noise, band, strict=True)])
    outside = torch.stack([n[q < 0.05 * q.max()].mean() for n, q in zip(noise, band, strict=True)])
    assert (inside > outside).double().mean() > 0.95
    assert 0.2 < outside.median() < 0.8


def test_surround_lets_wavelets_leak_in_at_top_and_bottom_only():
    b = seismic_pairs(20, (128, 16), 6, snr_db=(60.0, 60.0), dtype=torch.float64, surround=True)
    misfit = (b.y - convolve(b.x, b.w_true)).square().mean((0, 1, 3)).sqrt()
    assert misfit[26:-26].max() < 0.01
    assert min(misfit[:5].mean(), misfit[-5:].mean()) > 0.1


def test_levels_hold_the_stated_ranges():
    rng = np.random.default_rng(0)
    for name, (f, p, n) in {"none": (0, 0, 0), "in": (0.2, 0.6, 0.2), "out": (0.4, 1.2, 0.4)}.items():
        errors = np.array([[e.frequency, e.phase, e.length]
                           for e in (LEVELS[name].draw(rng) for _ in range(500))])
        top = np.array([f, p, n])
        assert (np.abs(errors) <= top).all()
        assert (np.abs(errors).max(0) >= 0.95 * top).all()
        assert (np.abs(errors.mean(0)) <= 0.12 * top).all()
    beyond = [LEVELS["beyond"].draw(rng) for _ in range(300)]
    assert min(abs(e.frequency) for e in beyond) >= 0.2 and min(abs(e.phase) for e in beyond) >= 0.6


def test_error_moves_the_parameters_by_its_amounts():
    error = Mismatch((0.3, 0.3), (0.5, 0.5), (0.1, 0.1)).draw(np.random.default_rng(1))
    true = WaveletSpec("ricker", 0.1, 0.2, 1.1)
    nominal = error.apply(true)
    assert abs(abs(nominal.frequency / true.frequency - 1) - 0.3) < 1e-12
    assert abs(abs(nominal.phase - true.phase) - 0.5) < 1e-12
    assert abs(abs(nominal.length / true.length - 1) - 0.1) < 1e-12


def test_mismatch_separates_nominal_from_true_in_order_of_its_level():
    mean = {}
    for level in LEVELS:
        b = seismic_pairs(150, (8, 8), 7, mismatch=level, dtype=torch.float64)
        mean[level] = (b.w_true * b.w_nominal).sum(1).mean().item()
    assert mean["none"] > 1 - 1e-12
    assert mean["none"] > mean["in"] > mean["out"] > mean["beyond"]
    assert mean["in"] > 0.85 and mean["out"] < 0.8


def test_half_of_the_nominal_wavelets_are_zero_phase():
    w = seismic_pairs(200, (8, 8), 8, dtype=torch.float64).w_nominal
    even = (w - w.flip(1)).abs().amax(1) < 1e-9
    assert 0.38 < even.double().mean() < 0.62


def test_splits_share_no_pair_and_none_with_the_stream_beside_them():
    first = [seismic_pairs(4, (16, 8), 9, split=split) for split in (None, "train", "valid", "test")]
    seen = {tuple(pair.flatten().tolist()) for batch in first for pair in batch.x}
    assert len(seen) == 16
    again = seismic_pairs(1, (16, 8), 9, split="test", start=3)
    assert all(torch.equal(p[3:], q) for p, q in zip(first[3], again, strict=True))


@pytest.mark.parametrize("options", [
    {"batch": 0}, {"shape": (7, 8)}, {"shape": (8, 7)}, {"seed": -1}, {"snr_db": (20.0, 10.0)}, {"taps": 50},
    {"dtype": torch.float16}, {"mismatch": "some"}, {"start": -1},
])
def test_bad_arguments_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        seismic_pairs(**{"batch": 1, "shape": (8, 8), **options})


@pytest.mark.parametrize("ranges", [((0.3, 0.2),), ((-0.1, 0.2),), ((0.0, 0.95),), ((0.0, 0.1), (0.0, 4.0))])
def test_bad_mismatch_is_refused(ranges):
    with pytest.raises(InputError, match="expected"):
        Mismatch(*ranges)
    assert mismatch_level("in") is LEVELS["in"]

"""A section is solved patch by patch without seams, dead traces pass, the residual is d - W r."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aafast.errors import AafastError, InputError
from aafast.physics import WaveletConvolution
from aafast.survey import reconstruct_section, ricker
from aafast.survey.gain import smooth_gain

from .conftest import correcting, synthetic, wiener

WAVELET = ricker(25, 4.0)
SIZES = {"patch": (64, 16), "overlap": (32, 8), "halo": (8, 2)}


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def solution(x, wavelet=None):
    batch = len(x)
    return SimpleNamespace(
        x=x,
        status=torch.ones(batch),
        iterations=torch.ones(batch),
        wavelet=wavelet,
        residuals=torch.zeros(1, batch),
        backend="test",
    )


def local(y, A0):
    """A nonlinear solver whose answer depends on 8 samples and 2 traces around, like a network's."""
    kernel = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 1, 17, 5)).astype(np.float32))
    return solution(torch.tanh(F.conv2d(y, kernel, padding=(8, 2)) / 9))


def test_where_patch_borders_fall_does_not_matter_within_the_halo():
    # The solver's reach equals the halo, so any grid must give the same answer: tolerance 1e-6 of its peak
    # (float32 sums in another order).
    data = synthetic(300, 70)
    whole = reconstruct_section(data, WAVELET, local, patch=(512, 128)).x
    for origin in ((0, 0), (13, 5), (31, 7), (20, 3)):
        shifted = reconstruct_section(data, WAVELET, local, origin=origin, **SIZES)
        assert len(shifted.patches) > 50
        assert np.abs(shifted.x - whole).max() <= 1e-6 * np.abs(whole).max()


def test_a_solver_of_unlimited_reach_shows_no_seam():
    # Wiener reaches as far as its inverse rings. With the default halo another grid changes the answer by
    # less than 0.5 % RMS, and where patches overlap it differs from one patch for all by less than 1 % RMS.
    data = synthetic(1200, 200)
    first = reconstruct_section(data, WAVELET, wiener)
    second = reconstruct_section(data, WAVELET, wiener, origin=(101, 29))
    whole = reconstruct_section(data, WAVELET, wiener, patch=(1200, 200)).x
    size = rms(whole)
    assert rms(first.x - second.x) < 0.005 * size
    for start in first.plan.time.starts[1:]:
        assert rms((first.x - whole)[start : start + 64]) < 0.01 * size


def test_one_patch_is_the_plain_solve_under_the_gain():
    data = synthetic(100, 20)
    found = reconstruct_section(data, WAVELET, wiener)
    gain = smooth_gain(data, np.ones(20, bool))
    y = torch.from_numpy(data / gain)[None, None]
    expected = wiener(y, WaveletConvolution(torch.from_numpy(WAVELET.samples))).x[0, 0].numpy() * gain
    assert np.array_equal(found.x, expected) and len(found.patches) == 1


def test_relative_amplitudes_survive():
    data = synthetic(400, 60)
    data *= np.linspace(
        1, 20, 60, dtype=np.float32
    )  # a linear solver must give the ratio back trace by trace
    plain = reconstruct_section(data, WAVELET, wiener, gain=np.ones_like(data)).x
    gained = reconstruct_section(data, WAVELET, wiener).x
    ratio = np.linalg.norm(gained, axis=0) / np.linalg.norm(plain, axis=0)
    assert np.abs(ratio - 1).max() < 0.02
    assert np.corrcoef(plain.ravel(), gained.ravel())[0, 1] > 0.999


def test_residual_is_the_data_less_the_wavelet_on_the_result():
    data = synthetic(200, 50)
    found = reconstruct_section(data, WAVELET, wiener, **SIZES)
    predicted = np.stack([np.convolve(trace, WAVELET.samples, "same") for trace in found.x.T], 1)
    assert np.abs(found.residual - (data - predicted)).max() < 1e-4 * np.abs(data).max()
    assert found.wavelets is None


def test_corrected_wavelets_enter_the_residual():
    data = synthetic(200, 50)
    found = reconstruct_section(data, WAVELET, correcting, **SIZES)
    assert found.wavelets.shape == (len(found.patches), WAVELET.samples.size)
    delayed = np.roll(WAVELET.samples, 1)
    predicted = np.stack([np.convolve(trace, delayed, "same") for trace in found.x.T], 1)
    assert np.abs(found.residual - (data - predicted)).max() < 1e-4 * np.abs(data).max()


def test_each_patch_uses_its_own_wavelet():
    def scaled(y, A0):
        factors = 1 + y.abs().amax((1, 2, 3))
        return solution(torch.ones_like(y), A0.wavelet * factors[:, None])

    data = synthetic(200, 50)
    found = reconstruct_section(data, WAVELET, scaled, gain=np.ones_like(data), batch=3, **SIZES)
    for row, number in enumerate(found.patches):
        place = found.plan[number]
        peak = np.abs(data[place.time, place.trace]).max()
        assert np.allclose(found.wavelets[row], WAVELET.samples * (1 + peak), rtol=1e-5)
    inside = found.plan[int(found.patches[len(found.patches) // 2])]
    t = slice(inside.time.start + 28, inside.time.start + 36)
    x = inside.trace.start + 8
    assert inside.weight[28:36, 8].min() == 1
    row = list(found.patches).index(inside.number)
    predicted = np.convolve(found.x[:, x], found.wavelets[row], "same")
    assert np.allclose(found.residual[t, x], (data[:, x] - predicted)[t], atol=1e-2)


def test_dead_traces_come_out_as_zeros_and_disturb_nobody():
    data = synthetic(200, 50)
    live = np.ones(50, bool)
    live[[0, 17, 18, 49]] = False
    clean = reconstruct_section(np.where(live, data, 0), WAVELET, wiener, **SIZES)
    data[:, ~live] = np.nan
    found = reconstruct_section(data, WAVELET, wiener, live=live, **SIZES)
    assert np.array_equal(found.x, clean.x) and np.array_equal(found.residual, clean.residual)
    assert (found.x[:, ~live] == 0).all() and (found.residual[:, ~live] == 0).all()
    assert (np.abs(found.x[:, live]).max(0) > 0).all()


def test_dead_traces_are_filled_from_their_neighbours_for_the_solve():
    seen = []

    def spy(y, A0):
        seen.append(y.clone())
        return solution(y)

    data = np.ones((64, 10), np.float32) * np.arange(1, 11, dtype=np.float32)
    data[:, [0, 4, 5]] = 0
    reconstruct_section(data, WAVELET, spy, gain=np.ones_like(data))
    assert seen[0][0, 0, 7].tolist() == pytest.approx([2, 2, 3, 4, 5, 6, 7, 8, 9, 10])


def test_patches_without_a_live_trace_are_not_solved():
    data = synthetic(128, 200)
    data[:, 60:160] = 0
    calls = []

    def counting(y, A0):
        calls.append(len(y))
        return wiener(y, A0)

    found = reconstruct_section(data, WAVELET, counting, batch=4, **SIZES)
    assert sum(calls) == len(found.patches) == found.iterations.size < len(found.plan) and max(calls) == 4
    assert (found.x[:, 60:160] == 0).all()


@pytest.mark.parametrize("shape", [(51, 1), (60, 3), (51, 8), (257, 65), (130, 9)])
def test_any_size_works(shape):
    data = synthetic(300, 70)[: shape[0], : shape[1]]
    found = reconstruct_section(data, WAVELET, wiener)
    assert found.x.shape == found.residual.shape == shape and np.isfinite(found.x).all()


def test_batch_size_does_not_matter():
    data = synthetic(200, 50)
    one, many = (reconstruct_section(data, WAVELET, local, batch=b, **SIZES) for b in (1, 7))
    assert np.abs(one.x - many.x).max() <= 1e-6 * np.abs(one.x).max()
    assert np.array_equal(one.patches, many.patches)


def test_curves_of_different_length_are_joined():
    lengths = iter([2, 5, 3, 4, 2, 3, 4, 5, 2, 3])

    def uneven(y, A0):
        answer = solution(y)
        answer.residuals = torch.ones(next(lengths), len(y))
        return answer

    found = reconstruct_section(synthetic(128, 60), WAVELET, uneven, batch=3, **SIZES)
    assert found.residuals.shape == (5, len(found.patches))
    assert np.isnan(found.residuals[2:, :3]).all() and np.isfinite(found.residuals[:5, 3:6]).all()


def test_progress_is_told():
    told = []
    reconstruct_section(
        synthetic(128, 60), WAVELET, wiener, batch=4, on_batch=lambda *n: told.append(n), **SIZES
    )
    done = [n for n, _ in told]
    assert done == sorted(set(done)) and told[-1][0] == told[-1][1] and len({n for _, n in told}) == 1


@pytest.mark.parametrize(
    "section, words",
    [
        (np.zeros((100, 20)), "dead"),
        (np.ones(100), "T, X"),
        (np.ones((100, 0)), "T, X"),
        (np.array([["a"]]), "T, X"),
        (np.full((100, 20), np.nan), "NaN or Inf in trace 1 \\(20 such\\)"),
        (np.ones((30, 20)), "at most the 30 of a trace"),
    ],
)
def test_sections_that_cannot_be_solved_are_refused(section, words):
    with pytest.raises(InputError, match=words):
        reconstruct_section(section, WAVELET, wiener)


def test_wrong_arguments_and_answers_are_refused():
    data = synthetic(100, 20)
    with pytest.raises(InputError, match="flag per trace"):
        reconstruct_section(data, WAVELET, wiener, live=np.ones(3, bool))
    with pytest.raises(InputError, match="batch"):
        reconstruct_section(data, WAVELET, wiener, batch=0)
    with pytest.raises(AafastError, match="Scale the data down"):
        reconstruct_section(data * np.float32(1e36), WAVELET, lambda y, A0: solution(1e4 * y))
    with pytest.raises(AafastError, match="shape"):
        reconstruct_section(data, WAVELET, lambda y, A0: solution(y[..., :-1]))
    with pytest.raises(AafastError, match="NaN or Inf in the patch at sample 0, trace 1"):
        reconstruct_section(data, WAVELET, lambda y, A0: solution(y * np.nan))

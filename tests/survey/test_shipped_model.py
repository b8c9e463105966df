"""The shipped model on whole lines: no seams at patch borders, relative amplitudes kept, dead traces untouched."""

import numpy as np
import pytest

from aafast.data import synthetic_line
from aafast.evaluation import compare
from aafast.survey import load_solver, make_wavelet
from aafast.survey.section import reconstruct_section

# RMS of the change, relative to the RMS of the answer, when every patch border moves.
SHIFT_TOLERANCE = 0.01


@pytest.fixture(scope="module")
def case():
    line = synthetic_line(200, 400, seed=5, snr_db=20.0)
    return line, make_wavelet(line.wavelet_nominal, 1000 * line.dt, "nominal"), load_solver("deconv")


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_the_answer_does_not_depend_on_where_patch_borders_fall(case):
    line, wavelet, solve = case
    base = reconstruct_section(line.data, wavelet, solve).x
    for origin in ((61, 17), (130, 40)):
        moved = reconstruct_section(line.data, wavelet, solve, origin=origin).x
        assert not rms(moved - base) > SHIFT_TOLERANCE * rms(base)


def test_the_error_at_patch_borders_is_no_larger_than_inside(case):
    line, wavelet, solve = case
    found = reconstruct_section(line.data, wavelet, solve)
    border = np.zeros(line.data.shape, bool)
    for patch in found.plan:
        edge = np.zeros(found.plan.patch, bool)
        edge[(patch.weight > 0) & (patch.weight < 1)] = True
        border[patch.time, patch.trace] |= edge
    live = line.data.any(0)
    error = (found.x - line.reflectivity)[:, live]
    border = border[:, live]
    truth = line.reflectivity[:, live]
    # Relative to the local amplitude: seams lie at other times than the loud events do.
    assert not rms(error[border]) / rms(truth[border]) > 1.02 * rms(error[~border]) / rms(truth[~border])


def test_relative_amplitudes_survive(case):
    line, wavelet, solve = case
    base = reconstruct_section(line.data, wavelet, solve).x
    louder = reconstruct_section(1000 * line.data, wavelet, solve).x
    np.testing.assert_allclose(louder, 1000 * base, rtol=2e-3, atol=2e-3 * 1000 * rms(base))


def test_it_beats_the_data(case):
    line, wavelet, solve = case
    live = line.data.any(0)
    found = reconstruct_section(line.data, wavelet, solve)
    truth = line.reflectivity[None, :, live]
    ours, data = (compare(truth, e[None, :, live]) for e in (found.x, line.data))
    assert ours["psnr"] > data["psnr"] and ours["correlation"] > data["correlation"]

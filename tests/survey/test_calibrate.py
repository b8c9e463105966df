"""A given wavelet is corrected once for a survey, by the median of what patches suggest."""

import numpy as np
import pytest
import torch

from aafast.data import synthetic_line
from aafast.errors import InputError
from aafast.evaluation import compare
from aafast.survey import calibrate_wavelet, load_solver, make_wavelet, reconstruct_section

from .conftest import quick, synthetic, write_segy


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def line():
    return synthetic_line(200, 400, seed=5, snr_db=20.0)


@pytest.fixture(scope="module")
def nominal(line):
    return make_wavelet(line.wavelet_nominal, 1000 * line.dt, "nominal")


def test_it_comes_nearer_to_the_truth_and_so_does_the_section(line, nominal):
    found = calibrate_wavelet(nominal, line.data, ~line.dead)
    assert found.source == "nominal, calibrated" and found.samples.shape == nominal.samples.shape
    assert cosine(found.samples, line.wavelet_true) > cosine(nominal.samples, line.wavelet_true) + 0.01
    live, solve = ~line.dead, load_solver("deconv")
    before, after = (
        compare(line.reflectivity[None, :, live], reconstruct_section(line.data, w, solve).x[None, :, live])
        for w in (nominal, found)
    )
    assert after["psnr"] > before["psnr"]


def test_threads_gain_and_a_second_call_change_nothing(line, nominal):
    found = calibrate_wavelet(nominal, line.data, ~line.dead).samples
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = calibrate_wavelet(nominal, [line.data], [~line.dead]).samples
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(alone, found)
    np.testing.assert_allclose(calibrate_wavelet(nominal, 1e3 * line.data, ~line.dead).samples, found, atol=1e-5)


def test_outliers_have_no_say(line, nominal):
    """A patch column of noise among five moves the median less than the calibration itself."""
    noisy = line.data.copy()
    noisy[:, 150:] = line.data.std() * np.random.default_rng(0).normal(size=noisy[:, 150:].shape)
    clean, spoilt = (calibrate_wavelet(nominal, image, ~line.dead).samples for image in (line.data, noisy))
    assert np.linalg.norm(spoilt - clean) < 0.5 * np.linalg.norm(clean - nominal.samples)


def test_without_a_calibration_the_wavelet_is_returned(line, nominal):
    assert calibrate_wavelet(nominal, line.data, model="deconv-robust-lu") is nominal
    assert calibrate_wavelet(nominal, line.data, model="identity") is nominal


def test_few_live_traces_are_enough(line, nominal):
    live = np.zeros(line.data.shape[1], bool)
    live[[3, 40]] = True
    assert np.isfinite(calibrate_wavelet(nominal, line.data, live).samples).all()
    assert np.isfinite(calibrate_wavelet(nominal, line.data[:, :3]).samples).all()


def test_bad_input_is_named(line, nominal):
    broken = line.data.copy()
    broken[5, 7] = np.nan
    for sections, live, words in (
        (line.data, np.ones(3, bool), "one flag per trace"),
        (line.data[0], None, "Give one line"),
        (line.data[:20], None, "shorter wavelet"),
        (np.zeros_like(line.data), None, "only dead traces"),
        (broken, None, "NaN or Inf in trace 8"),
        ([line.data, line.data], [~line.dead], "2, one for each section"),
    ):
        with pytest.raises(InputError, match=words):
            calibrate_wavelet(nominal, sections, live)


def test_a_run_calibrates_what_it_is_given(tmp_path):
    source = write_segy(tmp_path / "in.sgy", synthetic(200, 40, seed=1))
    options = {"solve": None, "model": "deconv", "wavelet": "ricker:20"}
    given = quick(source, tmp_path / "a.sgy", **options)
    assert given.wavelet.source == "ricker:20" and given.calibrated.source == "ricker:20, calibrated"
    assert "calibrated peak" in given.summary() and "calibrated to" in given.parameters
    assert given.as_dict()["calibrated"]["peak_hz"] == given.calibrated.dominant
    # The model's own correction is what is left: small beside that of the survey.
    own = given.wavelets.mean(0)
    assert np.linalg.norm(own - given.calibrated.samples) < np.linalg.norm(own - given.wavelet.samples)

    plain = quick(source, tmp_path / "b.sgy", calibrate=False, **options)
    assert plain.calibrated is None and "calibrated" not in plain.summary()
    assert (tmp_path / "b.sgy").read_bytes() != (tmp_path / "a.sgy").read_bytes()
    assert quick(source, tmp_path / "c.sgy", **{**options, "wavelet": "auto"}).calibrated is None
    assert quick(source, tmp_path / "d.sgy", wavelet="ricker:20").calibrated is None  # a function has no such network


def test_blocks_and_workers_do_not_change_what_it_writes(tmp_path):
    """Workers have fewer threads each, and libraries add up in another order then."""
    source = write_segy(tmp_path / "in.sgy", synthetic(300, 120, seed=2))
    options = {"solve": None, "model": "deconv", "wavelet": "ricker:20", "patch": (256, 16), "keep_text_header": True}
    quick(source, tmp_path / "a.sgy", **options)
    quick(source, tmp_path / "b.sgy", workers=2, **options)
    assert (tmp_path / "a.sgy").read_bytes() == (tmp_path / "b.sgy").read_bytes()

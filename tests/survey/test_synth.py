"""A synthetic survey: the same from the same numbers, readable, its truth known, and solved without seams at blocks."""

import numpy as np
import pytest

from aafast.cli import main
from aafast.errors import InputError
from aafast.survey import SyntheticSurvey, make_wavelet, write_survey
from aafast.survey.blocks import cut_sections
from aafast.survey.section import plan_section, reconstruct_section
from aafast.survey.segy import Survey

from .conftest import quick, wiener


def test_the_file_holds_the_survey_and_is_the_same_again(tmp_path, capsys):
    survey = SyntheticSurvey(3, 20, 100, seed=4)
    done = []
    path = write_survey(tmp_path / "a.sgy", survey, done.append)
    size = ["--inlines", "3", "--crosslines", "20", "--samples", "100", "--seed", "4"]
    assert main(["synth", str(tmp_path / "b.sgy"), *size]) == 0 and "60 traces" in capsys.readouterr().out
    assert path.read_bytes() == (tmp_path / "b.sgy").read_bytes() and path.stat().st_size == survey.size
    assert done == [1, 2, 3]
    with Survey(path) as file:
        assert (file.geometry.kind, len(file.geometry.sections), file.layout.interval) == ("3D", 3, 4.0)
        assert file.geometry.sections[1].numbers.tolist() == list(range(1001, 1021)) and "SYNTHETIC" in file.text[0]
        found = file.read(file.geometry.sections[1].traces)
    assert np.array_equal(found, survey.inline(1)[1])
    assert not np.array_equal(found, SyntheticSurvey(3, 20, 100, seed=5).inline(1)[1])


def test_the_truth_under_the_wavelet_is_the_data_but_for_noise():
    survey = SyntheticSurvey(50, 400, 300, seed=1)
    x, data, dead = next(made for made in map(survey.inline, range(50)) if made[2].any())
    predicted = np.stack([np.convolve(trace, survey.wavelet, "same") for trace in x.T], 1)
    error = (data - predicted)[:, ~dead]
    assert 0.08 < np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(data[:, ~dead] ** 2)) < 0.12
    assert not data[:, dead].any() and not x[:, dead].any()
    column = np.abs(np.diff(x, axis=1)).mean(0)
    assert column.max() > 2 * np.median(column), "a fault stands out"


def test_traces_may_be_shorter_than_half_the_wavelet():
    survey = SyntheticSurvey(1, 40, 16, seed=1)
    x, data, dead = survey.inline(0)
    predicted = np.stack([np.convolve(trace, survey.wavelet)[25:41] for trace in x.T], 1)
    error = (data - predicted)[:, ~dead]
    assert 0.05 < np.sqrt(np.mean(error**2)) / np.sqrt(np.mean(data[:, ~dead] ** 2)) < 0.2


def test_sizes_that_make_no_survey_are_refused(tmp_path):
    for size in ((0, 1, 100), (1, 1, 15), (1, 1, 70_000)):
        with pytest.raises(InputError, match="16 to 65535"):
            SyntheticSurvey(*size)
    assert main(["synth", str(tmp_path / "none" / "a.sgy")]) == 2


def test_the_error_at_block_borders_is_no_larger_than_inside():
    survey = SyntheticSurvey(10, 1200, 200, seed=2)
    x, data, dead = survey.inline(4)
    wavelet = make_wavelet(survey.wavelet, survey.interval, "true")
    error = reconstruct_section(data, wavelet, wiener, live=~dead).x - x
    blocks = cut_sections([1200], [plan_section(data.shape).trace], 4)
    border = np.zeros(1200, bool)
    for block in blocks[1:]:
        border[block.first - 8 : block.first + 8] = True
    assert len(blocks) > 5
    levels = [np.sqrt(np.mean(error[:, part] ** 2) / np.mean(x[:, part] ** 2)) for part in (border, ~border)]
    assert not levels[0] > 1.02 * levels[1]


def test_a_dataset_is_solved_as_its_file_is(tmp_path):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    from aafast.survey import reconstruct_dataset

    survey = SyntheticSurvey(3, 30, 100, seed=4)
    cube = np.stack([survey.inline(k)[1].T for k in range(3)])
    cube[1, 5] = 0
    cube[2, 7, 3] = np.nan
    places = {"inline": [1, 2, 3], "crossline": np.arange(30), "time": 4.0 * np.arange(100)}
    mask = np.ones((3, 30), bool)
    mask[0, 0] = False
    ds = xarray.Dataset({"amplitude": (tuple(places), cube), "trace_mask": (("inline", "crossline"), mask)}, places)
    before = cube.copy()
    found = reconstruct_dataset(ds, "ricker:25", solve=wiener)
    assert np.array_equal(ds.amplitude.values, before, equal_nan=True) and "aafast" in found.amplitude.attrs
    kept = ~mask | ~np.isfinite(cube).all(2) | ~cube.any(2)
    assert np.array_equal(found.amplitude.values[kept], cube[kept], equal_nan=True) and kept.sum() == 3
    out = quick(write_survey(tmp_path / "a.sgy", survey), tmp_path / "out.sgy")
    with Survey(out.output) as file:
        whole = np.stack([file.read(section.traces).T for section in file.geometry.sections])
    line = xarray.Dataset({"amplitude": (("trace", "time"), survey.inline(0)[1].T)}, {"time": places["time"]})
    assert np.array_equal(reconstruct_dataset(line, "ricker:25", solve=wiener).amplitude.values, whole[0])
    assert np.isfinite(reconstruct_dataset(line, solve=wiener).amplitude.values).all()
    for wrong, words in ((ds.drop_vars("amplitude"), "one named amplitude"), (ds.drop_vars("time"), "times in ms"),
                         (ds.isel(inline=0, crossline=0), "trace, time")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            reconstruct_dataset(wrong, "ricker:25", solve=wiener)

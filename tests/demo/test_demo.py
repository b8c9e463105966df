"""The demo: its files, its table, its honesty; with small lines and solvers written here."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aafast.demo import Row, run_demo
from aafast.demo.contest import MISMATCH, baselines, choose_settings
from aafast.demo.scores import score, table, verdict
from aafast.errors import FileError, InputError
from aafast.evaluation import BaselineSettings, compare

segyio = pytest.importorskip("segyio")
pytest.importorskip("pylops")


def solution(x: torch.Tensor) -> SimpleNamespace:
    n = len(x)
    return SimpleNamespace(x=x, z=None, status=torch.ones(n, dtype=torch.int8), wavelet=None, backend="test",
                           iterations=torch.ones(n, dtype=torch.int32), residuals=torch.full((1, n), 0.1))


def identity(y, A0):
    return solution(y.clone())


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    said = []
    folder = tmp_path_factory.mktemp("demo")
    result = run_demo(folder, seed=3, quick=True, traces=64, samples=160, solve=identity, progress=False,
                      report=False, say=said.append)
    return result, folder, "\n".join(said)


def test_files_are_a_line_its_truth_and_its_reconstructions(demo):
    result, folder, _ = demo
    names = {"line.sgy", "truth.sgy", "reconstruction-nominal.sgy", "reconstruction-estimated.sgy"}
    assert {p.name for p in folder.iterdir()} == names
    with segyio.open(result.input, ignore_geometry=True) as file:
        assert np.array_equal(file.trace.raw[:].T, result.line.data)
        dead = file.attributes(29)[:] == 2
        assert "RICKER 30 HZ" in file.text[0].decode("ascii")
    with segyio.open(result.truth, ignore_geometry=True) as file:
        assert np.array_equal(file.trace.raw[:].T, result.line.target)
    with segyio.open(result.output, ignore_geometry=True) as file:
        found = file.trace.raw[:].T
    assert np.array_equal(dead, result.line.dead) and not found[:, dead].any()
    assert np.array_equal(found, result.estimates["aafast"])
    assert np.allclose(found, result.line.data, rtol=1e-4, atol=1.0)


def test_rows_hold_the_metrics_of_each_method_with_each_wavelet(demo):
    result, _, _ = demo
    assert [(r.name, r.wavelet) for r in result.rows] == [
        ("data", "-"), ("Wiener", "nominal"), ("FISTA", "nominal"), ("aafast", "nominal"),
        ("Wiener", "estimated"), ("FISTA", "estimated"), ("aafast", "estimated"),
    ]
    live = ~result.line.dead
    for name in ("Wiener", "FISTA", "aafast"):
        expected = compare(result.line.target[None, :, live], result.estimates[name][None, :, live])
        row = result.row(name, "nominal")
        assert row.psnr == expected["psnr"][0] and row.correlation == expected["correlation"][0]
        assert row.quality == expected["quality"][0] and row.seconds > 0
    # what changes nothing has the figures of the data
    assert result.row("aafast").psnr == pytest.approx(result.row("data").psnr, abs=1e-3)


def test_text_states_conditions_and_wavelet_error_and_is_what_was_said(demo):
    result, _, said = demo
    text = result.text()
    assert text in said
    assert f"{result.threads} CPU thread(s)" in text and "least-squares factor" in text
    assert "+0.80 rad" in text or "-0.80 rad" in text
    assert "25 % in frequency" in text and "30 Hz" in text
    assert all(name in text for name in ("Wiener", "FISTA", "aafast", "PSNR dB", "correlation", "Q dB"))


def test_a_solver_that_does_nothing_is_not_praised(demo):
    result, _, _ = demo
    lines = [s for s in verdict(result.rows).splitlines() if "the data themselves" in s]
    assert len(lines) == 2 and all("beats" not in s for s in lines)


def test_the_same_seed_gives_the_same_numbers_and_the_baselines_get_the_runs_wavelet(demo, tmp_path):
    result, _, _ = demo
    again = run_demo(tmp_path / "new", seed=3, quick=True, traces=64, samples=160, solve=identity, auto=False,
                     progress=False, report=False, say=lambda _: None)
    assert len(again.rows) == 4
    for a, b in zip(result.rows, again.rows, strict=False):
        assert dataclasses.replace(a, seconds=0) == dataclasses.replace(b, seconds=0)
    assert np.allclose(result.outcome.wavelet.samples, result.line.wavelet_nominal, atol=1e-4)


def test_page_shows_truth_table_and_verdict(tmp_path):
    pytest.importorskip("matplotlib")
    result = run_demo(tmp_path, seed=4, quick=True, traces=64, samples=128, solve=identity, progress=False,
                      auto=False, say=lambda _: None)
    page = result.report.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 4
    assert all(word in page for word in ("Truth", "FISTA", "Against the truth", "Wiener", "run.html"))
    assert f"{result.row('FISTA').psnr:.2f}</td>" in page
    assert (tmp_path / "run.html").stat().st_size > 10_000


def test_better_estimates_are_said_to_beat_and_worse_ones_not_to():
    data, fista = Row("data", "-", 20.0, 0.5, 1.0, 0.0), Row("FISTA", "nominal", 21.0, 0.6, 1.5, 1.0)

    def words(psnr, correlation):
        return verdict([data, fista, Row("aafast", "nominal", psnr, correlation, 2.0, 3.0)]).splitlines()

    assert all("beats" in line for line in words(22.0, 0.7))
    assert "+1.00 dB" in words(22.0, 0.7)[1] and "+0.100" in words(22.0, 0.7)[1]
    assert "beats the data" in words(20.5, 0.55)[0] and "DOES NOT BEAT FISTA" in words(20.5, 0.55)[1]
    assert "does not clearly beat FISTA" in words(22.0, 0.59)[1]
    assert all("DOES NOT BEAT" in line for line in words(float("nan"), float("nan")))


def test_scores_leave_dead_traces_out_and_fit_one_scale():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((30, 6))
    live = np.array([True, True, False, True, True, True])
    row = score("m", "-", truth, np.where(live, 7 * truth, 1e6), live, 1.0)
    assert row.correlation == pytest.approx(1.0) and row.psnr > 200
    assert table([row]).splitlines()[1].startswith("m")


def test_baselines_run_under_the_runs_gain_and_leave_dead_traces(demo):
    line = demo[0].line
    settings = BaselineSettings(0.02, 0.05, 20)
    plain = {name: x for name, _, x in baselines(line, line.wavelet_nominal, settings)}
    loud = dataclasses.replace(line, data=1000 * line.data)
    for name, _, x in baselines(loud, line.wavelet_nominal, settings):
        assert np.isfinite(x).all() and not x[:, line.dead].any()
        assert np.allclose(x, 1000 * plain[name], rtol=1e-3, atol=1e-3 * np.abs(x).max())


def test_settings_are_chosen_without_the_reported_line(monkeypatch):
    from aafast.demo import contest

    seeds = []
    real = contest.synthetic_line

    def recorded(*args, **options):
        seeds.append(options["seed"])
        assert options["mismatch"] is MISMATCH
        return real(*args, **options)

    monkeypatch.setattr(contest, "synthetic_line", recorded)
    choose_settings(7, 128, None, 2)
    assert seeds == [100_007, 200_007]


@pytest.mark.parametrize("options", [{"traces": 63}, {"samples": 127}, {"seed": -1}, {"seed": 100_000}])
def test_bad_sizes_and_seeds_are_refused_before_anything_is_written(tmp_path, options):
    with pytest.raises(InputError, match="expected"):
        run_demo(tmp_path / "d", solve=identity, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_file_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "no" / "where"):
        with pytest.raises(FileError, match="expected"):
            run_demo(out, solve=identity, report=False)

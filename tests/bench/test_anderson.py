"""The measurement of our Anderson acceleration beside others': what it counts, its rows, and what the results say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from affine_maps import affine

from aafast.bench import anderson, rows
from aafast.bench.report import filled
from aafast.config import FixedPointConfig
from aafast.solvers import iterate

ROOT = Path(__file__).resolve().parents[2]
HAVE = [name for name in anderson.LIBRARIES if importlib.util.find_spec(name) is not None]


@pytest.fixture
def problem():
    m, c, _ = affine(batch=2, size=12, radius=0.5)
    settings = {"m": 4, "lam": 1e-4, "beta": 0.9}
    return anderson.affine("an affine map", m, c, torch.zeros(2, 1, 3, 4, dtype=c.dtype), settings)


@pytest.fixture
def present(monkeypatch):
    """Only with what is installed."""
    if len(HAVE) == 1:
        pytest.skip("neither torchdeq nor deepinv is installed: pip install aafast[torchdeq,deepinv]")
    monkeypatch.setattr(anderson, "LIBRARIES", HAVE)
    monkeypatch.setattr(anderson, "RIDGES", (1e-4, 1e-12))


def committed():
    return rows.read(anderson.RESULTS)


def test_the_committed_rows_are_whole_and_the_documents_tables_come_from_them():
    found = committed()
    assert found and [rows.complaints(row) for row in found] == [[]] * len(found)
    assert {row["backend"] for row in found} == set(anderson.LIBRARIES)
    assert all({"torchdeq", "deepinv"} <= set(row["versions"]) for row in found)
    text = (ROOT / "docs" / "compat.md").read_text(encoding="utf-8")
    assert filled(text, anderson.tables()) == text


def test_on_every_golden_map_ours_needs_no_more_evaluations_to_1e_6():
    found = [row for row in committed() if row["task"].startswith("golden")]
    tasks = {row["task"] for row in found}
    assert len(tasks) == 3
    for task in tasks:
        by = {(row["backend"], row["label"]): row["evaluations"]["1e-06"] for row in found if row["task"] == task}
        ours = by["aafast", "default"]
        others = [key for key in by if key[0] != "aafast" and not key[1].startswith("m=16")]
        assert len(others) == 6
        for key in others:  # as they come, with the file's settings, and with a ridge chosen for the map
            assert all(b is None or a <= b for a, b in zip(ours, by[key], strict=True)), (task, key)
        wide = "m=16, ridge chosen"
        assert all(by["aafast", wide] <= by[library, wide] for library in ("torchdeq", "deepinv"))


def test_on_the_trained_models_ours_needs_no_more_than_the_others_as_they_come():
    found = {(row["task"], row["backend"], row["label"]): row for row in committed()}
    held = [
        task for task, backend, label in found if task.endswith("held") and (backend, label) == ("aafast", "default")
    ]
    assert len(held) == 2
    for task in held:
        for library in ("torchdeq", "deepinv"):
            for tolerance, ours in found[task, "aafast", "default"]["evaluations"].items():
                theirs = found[task, library, "default"]["evaluations"][tolerance]
                assert all(a <= b for a, b in zip(ours, theirs, strict=True)), (task, library, tolerance)


def test_residuals_are_computed_again_at_every_evaluation(problem):
    found = anderson.residuals(problem, anderson.ours, {"m": 4})
    config = FixedPointConfig(m=4, tol=0.0, max_iter=problem.budget)
    own = iterate(lambda x, aux: (problem.start()(x), aux), problem.x0, {}, config).residuals.numpy()
    assert found.shape == (problem.budget, 2)
    np.testing.assert_allclose(found[:20], own[:20], rtol=1e-3)
    lying = problem._replace(again=lambda v: np.ones((2, 12)))
    assert anderson.residuals(lying, anderson.ours, {})[0] == pytest.approx(1.0)


def test_counts():
    curve = np.array([[1.0, 1.0], [1e-4, 1.0], [1e-2, 1.0]])
    assert anderson.counts(curve, 1e-3) == [2, None] and anderson.total(curve, 1e-3) == 2 + 4


@pytest.mark.parametrize("library", HAVE[1:])
def test_with_one_set_of_settings_the_libraries_evaluate_the_same_points(problem, library):
    problem = problem._replace(budget=8)
    settings = dict(zip(anderson.NAMES[library], (4, 1e-4, 0.9), strict=True))
    theirs = anderson.residuals(problem, anderson.SOLVES[library], settings)
    ours = anderson.residuals(problem, anderson.ours, {"m": 4, "ridge": 1e-4, "beta": 0.9, "relative": False})
    if library == "deepinv":  # it damps the first step, too
        assert theirs.shape == ours.shape and (theirs[0] == ours[0]).all() and (theirs[1] != ours[1]).all()
        settings["beta"] = 1.0
        theirs = anderson.residuals(problem, anderson.SOLVES[library], settings)
        ours = anderson.residuals(problem, anderson.ours, {"m": 4, "ridge": 1e-4, "beta": 1.0, "relative": False})
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_rows_with_and_without_times(problem, present, monkeypatch):
    monkeypatch.setattr(anderson, "ROUNDS", {"affine": 2})
    monkeypatch.setattr(anderson, "REPEATS", {"affine": 1})
    shared = rows.facts("cpu")
    plain = anderson.measure(problem)
    assert [rows.complaints({**row, **shared}) for row in plain] == [[]] * len(plain)
    assert all(row["median_s"] is None and row["gate"]["ok"] == (row["iterations"] is not None) for row in plain)
    assert "not timed" in rows.line({**plain[0], **shared})
    timed = anderson.measure(problem, clock=True)
    assert [rows.complaints({**row, **shared}) for row in timed] == [[]] * len(timed)
    ours = timed[0]
    assert ours["label"] == "default" and ours["speedup"] > 0 and ours["speedup_per_iteration"] > 0
    assert ours["s_per_iteration"] == pytest.approx(ours["median_s"] / ours["iterations"])
    assert ours["s_to_loose"] > 0 and "us an evaluation" in anderson.table(timed)
    short = anderson.measure(problem._replace(budget=4), clock=True)
    assert all(not row["gate"]["ok"] and row["median_s"] is None and row["speedup"] is None for row in short)
    assert "-, -" in anderson.table(short)


def test_a_trained_model_is_held_and_moves(tmp_path):
    from aafast.bench.fixed_point import Trained
    from aafast.data import seismic_pairs
    from aafast.physics import WaveletConvolution
    from aafast.tasks import build

    pairs = seismic_pairs(2, (16, 12), 0)
    model = build("deconv", "adaptive-deq", channels=4, depth=3, groups=2, residual_channels=4)
    trained = Trained("tiny", model, pairs.x, pairs.y, WaveletConvolution(pairs.w_nominal))
    with torch.no_grad():
        moving = anderson.moving(trained, "tiny")._replace(budget=4)
        curve = anderson.residuals(moving, anderson.ours, {})
        assert curve.shape == (4, 2) and np.array_equal(curve, anderson.residuals(moving, anderson.ours, {}))
        step, state = trained.start()
        held = anderson.held(step, state, pairs.y, "tiny")._replace(budget=4)
        assert np.isfinite(anderson.residuals(held, anderson.ours, {})).all() and held.task == "tiny, held"
    wanted = step.prox_step(pairs.y, state["z"]).detach().flatten(1)
    torch.testing.assert_close(torch.from_numpy(held.again(pairs.y)), wanted)

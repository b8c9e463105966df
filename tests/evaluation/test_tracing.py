"""Curves: each iterate is the solve's own, the objective is the one that is descended, and where a solve would stop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aafast.config import FixedPointConfig, InnerSolver
from aafast.errors import InputError
from aafast.evaluation import psnr
from aafast.evaluation.rows import complaints
from aafast.evaluation.tracing import Trace, curve, stability, stops, trace


@pytest.mark.parametrize("method", ["robust-lu", "adaptive-lu"])
@pytest.mark.parametrize("task", ["deconv", "deblur"])
def test_each_iterate_is_that_of_a_solve_of_so_many_iterations(build, pairs, task, method):
    model, batch = build(task, method), pairs(task)
    found = trace(model, batch, batch.nominal, 7)
    for count in (1, 5, 7):
        shorter = build(task, method, iterations=count)
        with torch.no_grad():
            x = shorter(batch.y, batch.nominal).x
        expected = psnr(batch.x, x, 1.0 if task == "deblur" else None)
        assert found.psnr[count - 1] == pytest.approx(expected, abs=1e-3)
    assert model.config.iterations == 5


def test_an_equilibrium_goes_on_past_its_stop(build, pairs):
    model, batch = build("deconv", "adaptive-deq", fixed_point=FixedPointConfig(tol=1e-2)), pairs("deconv")
    found = trace(model, batch, batch.nominal, 40)
    assert found.psnr.shape == (40, 3) and np.isfinite(found.residuals).all()
    with torch.no_grad():
        solution = model(batch.y, batch.nominal)
    stop = stops(model, found.residuals)
    assert stop.tolist() == solution.iterations.tolist() and (stop < 40).all()
    assert stability(model, found)["psnr"]["mean"] == pytest.approx(psnr(batch.x, solution.x).mean(), abs=1e-3)


def test_the_objective_falls_where_its_minimum_is_taken(build, pairs):
    """Without a mismatch network and a penalty on it, the closed-form z-step minimises the objective in z."""
    model = build("deconv", "adaptive-lu", residual="none", z_solver=InnerSolver("exact"), lam=0.3)
    batch = pairs("deconv")
    found = trace(model, batch, batch.nominal, 3).objective
    assert found.shape == (3, 4, 3)
    assert (found[:, 1] <= found[:, 0]).all() and (found[0, 1] < 0.9 * found[0, 0]).all()
    assert np.array_equal(found[:, 1], found[:, 2])  # nothing to update in theta
    assert np.allclose(found[1:, 0], found[:-1, 3])  # an iteration starts where the last one ended


def test_the_stop_is_the_first_residual_below_the_tolerance(build):
    model = build("deconv", "adaptive-deq")
    model.config = replace(model.config, fixed_point=FixedPointConfig(tol=0.1, max_iter=4))
    residuals = np.array([[0.5, 0.5], [0.05, 0.5], [0.2, 0.5], [0.3, 0.5], [0.3, 0.01]])
    assert stops(model, residuals).tolist() == [2, 4]
    level = np.array([[10.0, 10], [11, 11], [12, 12], [13, 13], [11.5, 16]])
    found = stability(model, Trace(level, level, residuals, None))
    # The first pair returns its second iterate, the second pair the first of equal residuals up to its fourth.
    assert found["psnr"]["mean"] == pytest.approx(10.5)
    assert found["change_at_end"]["mean"] == pytest.approx((0.5 + 6) / 2)
    assert found["largest_change"]["mean"] == pytest.approx((2 + 6) / 2)


def test_a_row_of_a_curve(build, pairs):
    batch = pairs("deconv")
    about = {"label": "adaptive-lu", "method": "adaptive-lu", "variant": "as-saved", "training_seed": 1, "weights": "-",
             "task": "deconv", "mismatch": "out", "split": "test", "source": "generated", "pairs": 3, "seed": 0,
             "shape": [1, 56, 12], "told": "nominal", "length": 8}  # fmt: skip
    row = curve(build("deconv", "adaptive-lu"), [batch], about)
    assert not complaints(row) and row["kind"] == "curve" and row["trained_iterations"] == 5
    assert len(row["mse"]) == len(row["psnr"]) == 9 and len(row["residual"]) == 8
    assert row["psnr"][0] == pytest.approx(psnr(batch.x, batch.y).mean(), rel=1e-5)
    assert set(row["objective"]) == {"before", "after_z", "after_theta", "after_x"}
    assert all(0 <= share <= 1 for part in row["descends"].values() for share in part)


def test_what_does_not_iterate_has_no_curve(build, pairs):
    with pytest.raises(InputError, match="iterations to trace"):
        trace(build("deconv", "direct"), pairs("deconv"), pairs("deconv").nominal, 5)

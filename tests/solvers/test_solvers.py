"""The one loop and its solvers on affine maps whose fixed points are known."""

import numpy as np
import pytest
import torch
from affine_maps import affine, apply

from aafast.config import FIXED_POINT, FixedPointConfig, ModelConfig
from aafast.errors import InputError
from aafast.solvers import Status, anderson, iterate, make_solver, progress
from aafast.solvers.adjoint import implicit, one_step, phantom
from aafast.tasks import settings


@pytest.mark.parametrize("name", FIXED_POINT)
def test_the_fixed_point_of_an_affine_map_is_found(name):
    m, c, exact = affine()
    config = FixedPointConfig(name, m=8, ridge=1e-12, tol=1e-10, max_iter=1000)
    found = iterate(apply(m, c), torch.zeros_like(c), {}, config)
    assert found.status.tolist() == [Status.CONVERGED] * 3
    torch.testing.assert_close(found.x, exact, rtol=1e-7, atol=1e-7)


def test_anderson_needs_fewer_evaluations_than_picard():
    m, c, _ = affine()
    counts = {}
    for name in ("anderson", "picard"):
        config = FixedPointConfig(name, m=8, ridge=1e-12, tol=1e-8, max_iter=400)
        counts[name] = iterate(apply(m, c), torch.zeros_like(c), {}, config).iterations
    assert (counts["anderson"] < 0.8 * counts["picard"]).all()


def test_each_sample_stops_by_itself_and_its_answer_ignores_its_neighbours():
    m, c, _ = affine()
    m = m * torch.tensor([0.1, 1.0, 0.5], dtype=torch.float64)[:, None, None]
    config = FixedPointConfig("anderson", ridge=1e-10, tol=1e-8, max_iter=200)
    together = iterate(apply(m, c), torch.zeros_like(c), {}, config)
    assert len(set(together.iterations.tolist())) == 3
    for i in range(3):
        alone = iterate(apply(m[i : i + 1], c[i : i + 1]), torch.zeros_like(c[:1]), {}, config)
        assert alone.iterations[0] == together.iterations[i]
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=1e-9, atol=1e-11)
        curve = together.residuals[:, i]
        assert not torch.isfinite(curve[alone.iterations[0] :]).any()
        assert torch.isfinite(curve[: alone.iterations[0]]).all()


def test_the_best_iterate_is_kept():
    offsets = torch.tensor([3.0, 0.1, 5.0, 7.0], dtype=torch.float64)
    calls = []

    def step(x, aux):
        calls.append(x)
        return x + offsets[len(calls) - 1], aux

    config = FixedPointConfig("picard", tol=0.0, max_iter=4)
    start = torch.ones(1, 8, dtype=torch.float64)
    assert torch.equal(iterate(step, start, {}, config).x, start + 3.1)
    calls.clear()
    assert torch.equal(iterate(step, start, {}, config, keep="last").x, start + 15.1)


def test_a_sample_that_diverges_is_named_and_leaves_the_others_alone():
    def step(x, aux):
        return torch.stack([x[0] * 1e200, 0.5 * x[1] + 1]), aux

    config = FixedPointConfig("picard", tol=1e-8, max_iter=60)
    found = iterate(step, torch.ones(2, 4, dtype=torch.float64), {}, config)
    assert found.status.tolist() == [Status.DIVERGED, Status.CONVERGED]
    assert torch.isfinite(found.x).all()
    torch.testing.assert_close(found.x[1], torch.full((4,), 2.0, dtype=torch.float64), rtol=1e-7, atol=0)


def halving(factor):
    """Sample 0 is still at once; the others halve, so that their relative residual stays at one."""

    def step(x, aux):
        return torch.cat([x[:1], factor * x[1:]]), {"count": aux["count"] + 1}

    return step


@pytest.mark.parametrize("keep", ["best", "last"])
def test_state_is_carried_along_and_frozen_at_a_samples_stop(keep):
    config = FixedPointConfig("picard", tol=1e-3, max_iter=6)
    found = iterate(halving(0.5), torch.ones(2, 4), {"count": torch.zeros(2)}, config, keep=keep)
    assert found.iterations.tolist() == [1, 6]
    assert found.aux["count"].tolist() == [1, {"best": 1, "last": 6}[keep]]


@pytest.mark.parametrize("name", ["anderson", "picard"])
def test_looking_at_the_flags_only_now_and_then_changes_nothing(name, monkeypatch):
    m, c, _ = affine()
    m = m * torch.tensor([0.1, 1.0, 0.5], dtype=torch.float64)[:, None, None]
    config = FixedPointConfig(name, ridge=1e-10, tol=1e-6, max_iter=200)
    always = iterate(apply(m, c), torch.zeros_like(c), {}, config)
    monkeypatch.setitem(progress.POLL, "cpu", 9)
    rarely = iterate(apply(m, c), torch.zeros_like(c), {}, config)
    assert torch.equal(rarely.x, always.x) and torch.equal(rarely.status, always.status)
    assert torch.equal(rarely.iterations, always.iterations)
    torch.testing.assert_close(rarely.residuals, always.residuals, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_golden_anderson(shared, index):
    data = np.load(shared / "golden" / f"anderson_{index}.npz")
    m, c = (torch.from_numpy(data[name]) for name in ("M", "c"))
    config = FixedPointConfig(
        "anderson",
        m=int(data["m"]),
        beta=float(data["beta"]),
        ridge=float(data["lam"]),
        relative=False,
        tol=0.0,
        max_iter=int(data["max_iter"]),
    )
    points, curve = [], []

    def watch(k, x, image):
        points.append(x)
        if k >= 2:
            curve.append(float((image - x).norm() / (1e-5 + image.norm())))

    iterate(apply(m, c), torch.zeros_like(c), {}, config, watch=watch)
    expected = torch.from_numpy(data["x"]).flatten(1)
    assert not (points[-1] - expected).abs().max() > 1e-9 * expected.abs().max()
    np.testing.assert_allclose(curve, data["residuals"], rtol=1e-6)


@pytest.mark.parametrize("mode", ["one-step", "phantom", "implicit"])
def test_gradient_modes_leave_the_value_and_approach_the_true_gradient(mode):
    torch.manual_seed(0)
    m, c, exact = affine(batch=2, size=6, radius=0.4)
    weight = torch.ones(6, dtype=torch.float64, requires_grad=True)

    def phi(x):
        return (m @ x.unsqueeze(2)).squeeze(2) + c * weight

    true = torch.linalg.solve(torch.eye(6, dtype=torch.float64) - m, torch.diag_embed(c)).sum((0, 1))
    config = FixedPointConfig("anderson", ridge=1e-12, tol=1e-12, max_iter=100)
    out = {
        "one-step": lambda: one_step(phi, exact, exact),
        "phantom": lambda: phantom(phi, exact, exact, steps=60),
        "implicit": lambda: implicit(phi, exact, exact, config),
    }[mode]()
    assert torch.equal(out, exact)
    out.sum().backward()
    error = (weight.grad - true).norm() / true.norm()
    assert not error > {"one-step": 0.6, "phantom": 1e-6, "implicit": 1e-9}[mode]


@pytest.mark.parametrize("name", FIXED_POINT)
def test_gradients_pass_through_an_unrolled_solve(name):
    m, c, _ = affine(batch=1, size=4, radius=0.5)

    def solve(offset):
        config = FixedPointConfig(name, m=3, ridge=1e-6, tol=0.0, max_iter=5)
        return iterate(apply(m, offset), torch.zeros_like(c), {}, config, keep="last").x

    assert torch.autograd.gradcheck(solve, (c.clone().requires_grad_(),))


@pytest.mark.parametrize(
    "call",
    [
        lambda: anderson(lambda x: x, [1.0]),
        lambda: anderson(lambda x: x, torch.ones(2, 3, dtype=torch.int64)),
        lambda: anderson(lambda x: x, torch.ones(2, 3), m=0),
        lambda: anderson(lambda x: x, torch.ones(2, 3), max_iter=0),
        lambda: anderson(lambda x: x, torch.ones(2, 3), beta=0.0),
        lambda: FixedPointConfig(restart=0.5),
        lambda: FixedPointConfig(drop=float("nan")),
        lambda: FixedPointConfig("newton"),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()


def test_public_anderson_solves_a_plain_function():
    found = anderson(lambda x: 0.5 * x.cos(), torch.zeros(2, 5, dtype=torch.float64), tol=1e-10)
    torch.testing.assert_close(found.x, 0.5 * found.x.cos(), rtol=1e-9, atol=1e-10)


def test_cards_of_before_still_load():
    old = {"name": "anderson", "m": 5, "beta": 1.0, "ridge": 1e-3, "relative": True, "tol": 1e-3, "max_iter": 40}
    values = settings("deconv", "adaptive-deq").to_dict() | {"fixed_point": old}
    found = ModelConfig.from_dict(values).fixed_point
    assert (found.m, found.beta, found.ridge) == (5, 1.0, 1e-3)
    solver = make_solver(found)
    assert solver.restart == solver.drop == 0  # a fixed damping keeps what it did before
    assert ModelConfig.from_dict(settings("deconv", "adaptive-deq").to_dict()).fixed_point == FixedPointConfig()


def test_traced_without_a_graph_break():
    m, c, _ = affine(size=8, radius=0.5)

    def solve(start):
        unrolled = FixedPointConfig("picard", tol=0.0, max_iter=4)
        return iterate(apply(m, c), start, {"kept": start}, unrolled, keep="last").x

    torch._dynamo.reset()
    start = torch.ones_like(c)
    compiled = torch.compile(solve, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(start), solve(start), rtol=0, atol=0)
    torch._dynamo.reset()


def test_what_all_samples_share_or_take_together_is_not_copied():
    m, c, _ = affine(radius=0.5)
    shared, images = torch.ones(1, 2), []

    def step(x, aux):
        image, _ = apply(m, c)(x, aux)
        images.append(image)
        return image, {"shared": shared, "count": aux["count"] + 1}

    config = FixedPointConfig("picard", tol=0.0, max_iter=5)
    found = iterate(step, torch.zeros_like(c), {"shared": shared, "count": torch.zeros(3)}, config, keep="last")
    assert found.x is images[-1] and found.aux["shared"] is shared
    assert found.aux["count"].tolist() == [5, 5, 5]

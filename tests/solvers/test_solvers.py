"""The one loop and its solvers on affine maps whose fixed points are known."""

import numpy as np
import pytest
import torch

from aafast.config import FixedPointConfig
from aafast.errors import InputError
from aafast.solvers import Status, anderson, iterate, progress
from aafast.solvers.adjoint import implicit, one_step, phantom


def affine(batch=3, size=40, radius=0.9, seed=0):
    g = torch.Generator().manual_seed(seed)
    m = torch.randn(batch, size, size, generator=g, dtype=torch.float64)
    m = m * (radius / torch.linalg.eigvals(m).abs().amax(1))[:, None, None]
    c = torch.randn(batch, size, generator=g, dtype=torch.float64)
    return m, c, torch.linalg.solve(torch.eye(size, dtype=torch.float64) - m, c)


def apply(m, c):
    return lambda x, aux: ((m @ x.unsqueeze(2)).squeeze(2) + c, aux)


@pytest.mark.parametrize("name", ["anderson", "picard"])
def test_the_fixed_point_of_an_affine_map_is_found(name):
    m, c, exact = affine()
    config = FixedPointConfig(name, m=8, ridge=1e-12, tol=1e-10, max_iter=400)
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


def test_gradients_pass_through_unrolled_anderson():
    m, c, _ = affine(batch=1, size=4, radius=0.5)

    def solve(offset):
        config = FixedPointConfig("anderson", m=3, ridge=1e-6, tol=0.0, max_iter=5)
        return iterate(apply(m, offset), torch.zeros_like(c), {}, config, keep="last").x

    assert torch.autograd.gradcheck(solve, (c.clone().requires_grad_(),))


@pytest.mark.parametrize(
    "call",
    [
        lambda: anderson(lambda x: x, [1.0]),
        lambda: anderson(lambda x: x, torch.ones(2, 3, dtype=torch.int64)),
        lambda: anderson(lambda x: x, torch.ones(2, 3), m=0),
        lambda: anderson(lambda x: x, torch.ones(2, 3), max_iter=0),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()


def test_public_anderson_solves_a_plain_function():
    found = anderson(lambda x: 0.5 * x.cos(), torch.zeros(2, 5, dtype=torch.float64), tol=1e-10)
    torch.testing.assert_close(found.x, 0.5 * found.x.cos(), rtol=1e-9, atol=1e-10)

"""Each sample's answer is the one it has alone, to the last bit, whoever stands beside it and however many fit."""

import pytest
import torch

import aafast.engine
from aafast.config import METHODS, FixedPointConfig, InnerSolver
from aafast.engine.memory import capacity
from aafast.errors import BackendError, InputError
from aafast.solvers import Status
from aafast.tasks import TASKS, build

from .problems import FEW, assert_close, assert_same, make_problem, model_of, rand, solve, work_of

LU, DEQ = "adaptive-lu", "adaptive-deq"


def one(problem, i):
    """Sample i of a problem, alone."""
    y, A0 = problem
    return y[i : i + 1], A0.select(i) if hasattr(A0, "select") else A0


def assert_each_alone(model, problem, together):
    for i in range(len(problem[0])):
        assert_same(together, solve(model, one(problem, i)), slice(i, i + 1))


CASES = {
    **{f"{task} {method}": (task, method, {}) for task in TASKS for method in METHODS},
    "deconv exact": ("deconv", LU, {"z_solver": InnerSolver("exact")}),
    "deconv cg": ("deconv", LU, {"z_solver": InnerSolver("cg", steps=3)}),
    "deblur cg": ("deblur", LU, {"z_solver": InnerSolver("cg", steps=3)}),
    "deblur z gradient": ("deblur", LU, {"z_solver": InnerSolver("gradient")}),
    "deconv least squares": ("deconv", LU, {"theta_solver": InnerSolver("least-squares")}),
    "defog theta gradient": ("defog", LU, {"theta_solver": InnerSolver("gradient", steps=2)}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sample_among_others(case):
    task, method, overrides = CASES[case]
    model, problem = model_of(task, method, torch.float32, **overrides), make_problem(task, torch.float32)
    assert_each_alone(model, problem, solve(model, problem))


@pytest.mark.parametrize("case", ["deconv adaptive-deq", "defog adaptive-lu", "deblur robust-lu", "deconv exact"])
def test_threads(case, threads):
    task, method, overrides = CASES[case]
    model, problem = model_of(task, method, torch.float32, **overrides), make_problem(task, torch.float32)
    found = {}
    for count in (1, 2):
        threads(count)
        found[count] = solve(model, problem)
    assert_same(found[2], found[1])


def stopping(name="anderson", dtype=torch.float32):
    """A model and a batch whose samples stop after different numbers of iterations, two of them not in time."""
    model = model_of(
        "deconv", DEQ, dtype, fixed_point=FixedPointConfig(name, tol=3e-3, max_iter=14), depth=3, norm="none",
        normalise=False, z_solver=InnerSolver("adamw", lr=1.5e-3),
    )
    with torch.no_grad():
        for weight in model.prox.R.parameters():
            weight.mul_(0.3)
    y, A0 = make_problem("deconv", dtype, batch=7)
    scales = torch.tensor([0.003, 3.0, 0.05, 1.0, 0.2, 10.0, 0.5], dtype=dtype)
    return model, (y * scales.view(-1, 1, 1, 1), A0)


def test_samples_stop_each_for_itself():
    model, problem = stopping()
    together = solve(model, problem)
    assert len(set(together.iterations.tolist())) > 2
    assert {Status.CONVERGED, Status.MAX_ITER} <= set(together.status.tolist())
    assert_each_alone(model, problem, together)
    double = stopping(dtype=torch.float64)
    assert_close(solve(*double, "cpp"), solve(*double, "eager"), 1e-10)


@pytest.mark.parametrize("fixed_point", ["anderson", "broyden", "momentum", "picard"])
def test_a_batch_that_does_not_fit_at_once(fixed_point, capacities):
    model, problem = stopping(fixed_point)
    whole = solve(model, problem)
    assert len(set(whole.iterations.tolist())) > 1
    aafast.engine.set_memory_limit(1 << 16)
    for room in (1, 3):
        aafast.engine.set_memory_limit(limit_for(model, problem, room))
        assert_same(solve(model, problem), whole)
    assert capacities == [7, 1, 3]


def limit_for(model, problem, room):
    """The least memory limit, to a few percent, at which so many samples of a problem are held at once."""
    work = work_of(model, problem)
    start, limit = work.start(torch.tensor([0]))[1], 1 << 16
    while capacity(model, work.plan, problem[0], start) < room:
        limit = limit * 17 // 16
        aafast.engine.set_memory_limit(limit)
    return limit


def test_memory_limits(capacities):
    problem = make_problem("deblur", torch.float32, batch=5)
    for method in METHODS:
        model = model_of("deblur", method, torch.float32)
        aafast.engine.set_memory_limit(None)
        whole = solve(model, problem)
        aafast.engine.set_memory_limit(1)  # fewer than one sample is not possible
        assert_same(solve(model, problem), whole)
        assert capacities[-2:] == [5, 1]
    for wrong in (0, -5):
        with pytest.raises(InputError, match="memory limit"):
            aafast.engine.set_memory_limit(wrong)


def test_a_shared_theta_keeps_its_batch_whole(capacities):
    model, problem = model_of("deblur", LU, theta_scope="batch"), make_problem("deblur")
    aafast.engine.set_memory_limit(1)
    assert_close(solve(model, problem), solve(model, problem, "eager"), 1e-11)
    assert not capacities


class Mixing:
    """A user's own model: a matrix along each axis, the same for all samples."""

    def __init__(self, size=(21, 14)):
        self.down, self.along = rand(*size[:1] * 2, seed=5) / 5, rand(*size[1:] * 2, seed=6) / 4

    def A(self, x):
        return self.down.to(x) @ x @ self.along.to(x)

    def A_adjoint(self, y):
        return self.down.to(y).T @ y @ self.along.to(y).T


class Dense:
    """A user's own matrix on whole images: products of one and of several rows are other algorithms of a library."""

    matrix = rand(3 * 21 * 14, 3 * 21 * 14, seed=9) / 50

    def A(self, x):
        return (x.flatten(1) @ self.matrix.to(x)).view_as(x)

    def A_adjoint(self, y):
        return (y.flatten(1) @ self.matrix.to(y).T).view_as(y)


class Filter:
    """A user's own convolution, the same for all samples."""

    kernel = rand(3, 1, 3, 3, seed=7) / 3

    def A(self, x):
        return torch.nn.functional.conv2d(x, self.kernel.to(x), padding=1, groups=3)

    def A_adjoint(self, y):
        return torch.nn.functional.conv_transpose2d(y, self.kernel.to(y), padding=1, groups=3)


class Gains:
    """A user's own model with parameters per sample."""

    def __init__(self, gain):
        self.gain = gain

    def A(self, x):
        return x * self.gain.to(x)

    A_adjoint = A

    def select(self, index):
        return type(self)(self.gain[index : index + 1])


class Squares(Gains):
    """Not linear; A_adjoint is that of its derivative at nought, as a user may have it."""

    linear = False

    def A(self, x):
        return x * self.gain.to(x) + 0.1 * x.square()


GIVEN = {"mixing": Mixing(), "dense": Dense(), "filter": Filter(), "gains": Gains(rand(4, 3, 1, 1, seed=8))}


@pytest.mark.parametrize("method", ["robust-lu", LU, DEQ])
@pytest.mark.parametrize("name", GIVEN)
def test_a_users_own_forward_model(name, method):
    overrides = {"normalise": False} if method == DEQ else {}
    y, given = make_problem("deblur", batch=4)[0], GIVEN[name]
    model = model_of("deblur", method, **overrides)
    assert_close(solve(model, (y, given)), solve(model, (y, given), "eager"), 1e-11)
    model, y = model.float(), y.float()
    together = solve(model, (y, given))
    assert_each_alone(model, (y, given), together)


def test_a_users_nonlinear_model():
    y = make_problem("deblur", batch=2)[0]
    given = Squares(rand(2, 3, 1, 1, seed=8))
    robust = model_of("deblur", "robust-lu")
    assert_close(solve(robust, (y, given)), solve(robust, (y, given), "eager"), 1e-11)
    adaptive = model_of("deblur", LU)
    assert solve(adaptive, (y, given), "eager").backend != "cpp"
    with torch.no_grad():
        assert adaptive(y, given).backend == "eager+cpp"
        with pytest.raises(BackendError, match="not linear"):
            adaptive.backend = "cpp"
            adaptive(y, given)


def test_a_users_model_that_changes_its_mind_is_refused():
    class Fickle:
        calls = 0

        def A(self, x):
            self.calls += 1
            return x.float() if self.calls > 5 else x

        def A_adjoint(self, y):
            return y

    model = model_of("deblur", LU, iterations=9)
    with pytest.raises(InputError, match=r"A0\(z\): got torch.float32.*expected torch.float64"):
        solve(model, (make_problem("deblur")[0], Fickle()))


def test_a_broken_sample_leaves_the_others_alone():
    theta = InnerSolver("gradient", lr=1e12, steps=3)
    model = build("deconv", LU, channels=16, residual_channels=16, depth=4, theta_solver=theta)
    y, A0 = make_problem("deconv", torch.float32)
    y[1] = 0  # no gradient, so its theta stays
    found = solve(model, (y, A0))
    assert found.status.tolist() == [Status.DIVERGED, Status.MAX_ITER, Status.DIVERGED]
    assert_each_alone(model, (y, A0), found)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_read_from_memory_of_earlier_solves(task, spoil):
    for overrides in ({}, {"theta_scope": "batch"}, {"precision": "strict"}):
        precision = overrides.pop("precision", "fast")
        model = model_of(task, DEQ, torch.float32, fixed_point=FEW, normalise=False, **overrides)
        model.precision = precision
        problem = make_problem(task, torch.float32)
        want = solve(model, problem)
        solve(model, make_problem(task, torch.float32, batch=4, height=40, width=30, seed=3))
        assert spoil() >= 4
        got = solve(model, problem)
        assert_same(got, want)
        spoil()
        assert torch.isfinite(got.x).all() and all(torch.isfinite(value).all() for value in got.aux.values())

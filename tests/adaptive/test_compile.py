"""Compiled models: one graph, compiled once, with the numbers of the models as they are."""

import subprocess
import sys

import pytest
import torch

from aafast import ops
from aafast.adaptive.objective import Problem
from aafast.adaptive.state import initial
from aafast.adaptive.step import AdaptiveStep
from aafast.config import FixedPointConfig, InnerSolver
from aafast.solvers import Status, iterate
from aafast.tasks import build

from .conftest import make_problem

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
# Steps that move z and theta far enough for a wrong gradient to show, and smooth enough for rounding not to.
STEPS = {"z_solver": InnerSolver("adamw", lr=0.1, eps=1e-2), "theta_solver": InnerSolver("adamw", lr=1e-2, eps=1e-2)}
SMALL = {"channels": 8, "residual_channels": 8, "depth": 3, "iterations": 2}
needs_stack = pytest.mark.skipif(
    not any(row.op == "conv_stack" and row.backend == "cpp" and row.available for row in ops.backends()),
    reason="the native module is not built here",
)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def model_of(task, method, dtype=torch.float64, **settings):
    torch.manual_seed(0)
    model = build(task, method, **(SMALL | STEPS | settings)).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.03 * torch.randn_like(p))
    return model


def data(task, seed, dtype=torch.float64):
    return make_problem(task, batch=2, height=16, width=16, dtype=dtype, seed=seed)


def compiled(function, backend="aot_eager"):
    return torch.compile(function, fullgraph=True, backend=backend)


def again():
    """A scope in which compiling anything is an error."""
    return torch.compiler.set_stance("fail_on_recompile")


def assert_close(found, expected):
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if expected.is_floating_point():
        error, size = (found - expected).norm(), expected.norm()
        assert error <= TOLERANCE[expected.dtype] * size
    else:
        assert torch.equal(found, expected)


def assert_same_solution(found, expected):
    assert torch.equal(found.status, expected.status) and torch.equal(found.iterations, expected.iterations)
    assert found.aux.keys() == expected.aux.keys()
    pairs = [(found.aux[name], expected.aux[name]) for name in expected.aux]
    pairs += [(getattr(found, name), getattr(expected, name)) for name in ("x", "z", "wavelet", "residuals")]
    for a, b in pairs:
        assert (a is None) == (b is None)
        if b is not None:
            assert_close(a.detach(), b.detach())


@pytest.mark.parametrize("method", ["robust-lu", "adaptive-lu"])
def test_a_compiled_model_gives_the_models_solution(task, method):
    model = model_of(task, method)
    run = compiled(model)
    with torch.no_grad():
        y, A0 = data(task, seed=0)
        assert_same_solution(run(y, A0), model(y, A0))
        y, A0 = data(task, seed=1)
        with again():
            found = run(y, A0)
        assert_same_solution(found, model(y, A0))


def test_the_plain_loop_runs_a_compiled_step_and_stops_early():
    config = FixedPointConfig(tol=1e-2, max_iter=20)
    model = model_of("deconv", "adaptive-deq", fixed_point=config)
    y, A0 = data("deconv", seed=0)
    model.backend = "eager"
    model.refresh()
    step = AdaptiveStep(Problem(y, A0, model.residual, model.config), model.prox, model.eta)
    with torch.no_grad():
        found = iterate(compiled(step), y, initial(y, model.residual.start(len(y))), config)
        expected = model(y, A0)
    assert (found.status == Status.CONVERGED).all() and torch.equal(found.iterations, expected.iterations)
    assert_close(found.x, expected.x)


def weight_gradients(model, solution):
    weights = [p for p in model.parameters() if p.requires_grad]
    return torch.autograd.grad(solution.x.square().sum(), weights)


@pytest.mark.parametrize("task,method", [("deconv", "robust-lu"), ("deblur", "adaptive-lu"), ("defog", "robust-lu")])
def test_a_compiled_model_trains_as_the_model_does(task, method):
    model = model_of(task, method)
    run = compiled(model)
    for seed in (0, 1):
        y, A0 = data(task, seed)
        if seed == 0:
            found = run(y, A0)
        else:
            with again():
                found = run(y, A0)
        expected = model(y, A0)
        assert_same_solution(found, expected)
        for a, b in zip(weight_gradients(model, found), weight_gradients(model, expected), strict=True):
            assert b.any()
            assert_close(a, b)


def test_a_compiled_step_of_the_equilibrium(task):
    model = model_of(task, "adaptive-deq")

    def step(y, A0, x, state):
        return AdaptiveStep(Problem(y, A0, model.residual, model.config), model.prox, model.eta)(x, state)

    def point(seed):
        y, A0 = data(task, seed)
        state = initial(y.roll(1, 2), model.residual.start(len(y)))
        return y, A0, y.flip(2), state

    run = compiled(step)
    with torch.no_grad():
        x, state = run(*point(0))
        y, A0, _, _ = point(1)
        with again():
            found, after = run(y, A0, x, state)  # from data and a state that were not there when it was compiled
        expected, wanted = step(y, A0, x, state)
    assert_close(found, expected)
    assert list(after) == list(state) == list(wanted)
    for name in wanted:
        assert_close(after[name], wanted[name])
        assert name == "count" or not torch.equal(after[name], state[name])


def test_a_compiled_equilibrium_of_a_fixed_number_of_iterations():
    model = model_of("deconv", "adaptive-deq", fixed_point=FixedPointConfig(m=2, tol=0.0, max_iter=3))
    run = compiled(model)
    with torch.no_grad():
        y, A0 = data("deconv", seed=0)
        assert_same_solution(run(y, A0), model(y, A0))
        y, A0 = data("deconv", seed=1)
        with again():
            found = run(y, A0)
        assert_same_solution(found, model(y, A0))


def test_norms_are_refreshed_by_the_trace_and_then_on_request():
    model = model_of("deblur", "robust-lu", normalise=True)
    run = compiled(model)
    y, A0 = data("deblur", seed=0)
    with torch.no_grad():
        assert_close(run(y, A0).x, model(y, A0).x)
        for layer in model.prox.convolutions():
            layer.weight.add_(torch.randn_like(layer.weight))
        stale = run(y, A0).x
        model.refresh()
        with again():
            found = run(y, A0).x
        assert_close(found, model(y, A0).x)
        assert not torch.allclose(stale, found, rtol=1e-6)


def test_closed_forms_are_compiled():
    model = model_of("deconv", "adaptive-lu", z_solver=InnerSolver("exact"), theta_solver=InnerSolver("least-squares"))
    run = compiled(model)
    y, A0 = data("deconv", seed=0)
    with torch.no_grad():
        assert_same_solution(run(y, A0), model(y, A0))
        with again():  # the same forward model, which has kept its factors by now
            assert_same_solution(run(y, A0), model(y, A0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own modules
@pytest.mark.parametrize("backend", [pytest.param("auto", marks=needs_stack), "eager"])
def test_inductor_gives_the_models_solution(backend):
    model = model_of("deconv", "adaptive-lu" if backend == "auto" else "robust-lu", torch.float32, iterations=1)
    model.backend = backend
    run = compiled(model, "inductor")
    with torch.no_grad():
        y, A0 = data("deconv", seed=0, dtype=torch.float32)
        assert_same_solution(run(y, A0), model(y, A0))
        y, A0 = data("deconv", seed=1, dtype=torch.float32)
        with again():
            found = run(y, A0)
        assert_same_solution(found, model(y, A0))


@pytest.mark.parametrize("backend", [pytest.param("auto", marks=needs_stack), "eager"])
def test_stacks_are_one_operation_or_plain_convolutions_as_the_backend_says(backend):
    model = model_of("deconv", "robust-lu")
    model.backend = backend
    called = []

    def look(graph, inputs):
        called.append({node.target for node in graph.graph.nodes if node.op == "call_function"})
        return graph.forward

    with torch.no_grad():
        compiled(model, look)(*data("deconv", seed=0))
    (targets,) = called
    assert (torch.ops.aafast.conv_stack.default in targets) == (backend == "auto")
    assert (torch.conv2d in targets) == (backend == "eager")


def test_the_package_does_not_import_the_compiler():
    code = "import sys, aafast, aafast.engine; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0

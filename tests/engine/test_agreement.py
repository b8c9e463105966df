"""The engine against the loop in plain torch: whole solves in float64, single iterations in float32."""

import pytest
import torch

from aafast.adaptive.objective import Problem
from aafast.adaptive.step import AdaptiveStep
from aafast.config import FIXED_POINT, METHODS, FixedPointConfig, InnerSolver
from aafast.tasks import TASKS

from .problems import (
    MEANINGLESS,
    assert_close,
    distance,
    double,
    fused_problem,
    make_problem,
    model_of,
    rand,
    solve,
    work_of,
)

LU, DEQ = "adaptive-lu", "adaptive-deq"
PLAIN = {"normalise": False}  # to find the norms takes longer than these solves
FAST_THETA = {"theta_solver": InnerSolver("adamw", lr=1e-2, weight_decay=0.1)}
# task, method, overrides
CASES = {
    **{f"{task} {method}": (task, method, {}) for task in TASKS for method in METHODS},
    **{f"{task} shared theta": (task, LU, {"theta_scope": "batch", **FAST_THETA}) for task in TASKS},
    **{f"{task} shared theta deq": (task, DEQ, {"theta_scope": "batch", **PLAIN, **FAST_THETA}) for task in TASKS},
    **{f"{task} no residual": (task, LU, {"residual": "none"}) for task in TASKS},
    **{f"{task} fast theta": (task, LU, FAST_THETA) for task in TASKS},
    **{f"{task} no gamma": (task, LU, {"gamma": 0.0, **FAST_THETA}) for task in TASKS},
    **{f"{task} gamma": (task, LU, {"gamma": 0.7, "lam": 0.5, **FAST_THETA}) for task in TASKS},
    "deconv conv": ("deconv", LU, {"residual": "conv", **FAST_THETA}),
    "defog conv": ("defog", LU, {"residual": "conv", **FAST_THETA}),
    "deconv short wavelet": ("deconv", LU, {"taps": 31, **FAST_THETA}),
    "deconv z exact": ("deconv", LU, {"z_solver": InnerSolver("exact"), "lam": 0.2}),
    "deconv z exact, theta least squares": (
        "deconv", LU, {"z_solver": InnerSolver("exact"), "theta_solver": InnerSolver("least-squares"), "lam": 0.2},
    ),
    "deconv least squares shared": (
        "deconv", LU, {"theta_solver": InnerSolver("least-squares"), "theta_scope": "batch"},
    ),
    **{f"{task} z cg": (task, LU, {"z_solver": InnerSolver("cg", steps=3), "lam": 0.2}) for task in TASKS},
    **{f"{task} z gradient": (task, LU, {"z_solver": InnerSolver("gradient", steps=2)}) for task in TASKS},
    **{f"{task} z adamw, 3 steps": (task, LU, {"z_solver": InnerSolver("adamw", steps=3, lr=1e-2)}) for task in TASKS},
    "deblur theta gradient": ("deblur", LU, {"theta_solver": InnerSolver("gradient", steps=2, lr=1e-2)}),
    "deconv theta gradient shared": (
        "deconv", LU, {"theta_solver": InnerSolver("gradient", steps=2, lr=1e-2), "theta_scope": "batch"},
    ),
    **{f"{task} theta 3 steps": (task, LU, {"theta_solver": InnerSolver("adamw", steps=3, lr=1e-2)}) for task in TASKS},
    "defog theta 2 steps shared": (
        "defog", DEQ, {"theta_solver": InnerSolver("adamw", steps=2, lr=1e-2), "theta_scope": "batch", **PLAIN},
    ),
    "defog theta none": ("defog", LU, {"theta_solver": InnerSolver("none")}),
    "deconv no norm, skip": ("deconv", LU, {"norm": "none", "skip": True}),
    "deblur direct skip": ("deblur", "direct", {"norm": "none", "skip": True}),
    "deblur robust skip": ("deblur", "robust-lu", {"skip": True}),
    **{f"deblur offset {name}": ("deblur", LU, {"offset": name}) for name in ("none", "subtract", "residual")},
    "defog without y": ("defog", DEQ, {"feed_y": False, "offset": "residual", **PLAIN}),
    "deconv depth 2": ("deconv", LU, {"depth": 2, "feed_y": False}),
    "deconv groups": ("deconv", DEQ, {"groups": 16, "residual_channels": 32, **PLAIN}),
    "deconv normalised": ("deconv", LU, {"normalise": True}),
    **{
        f"deblur {name}": (
            "deblur", DEQ, {"fixed_point": FixedPointConfig(name, m=3, max_iter=7, tol=0.0, beta=0.8), **PLAIN},
        )
        for name in FIXED_POINT if name != "picard"
    },
    **{
        f"deconv {name} adapted": (
            "deconv", DEQ, {"fixed_point": FixedPointConfig(name, max_iter=7, tol=0.0, restart=2.0, drop=3.0), **PLAIN},
        )
        for name in ("anderson", "broyden")
    },
    "deconv authors' anderson": (
        "deconv", DEQ,
        {"fixed_point": FixedPointConfig(m=5, beta=1.0, ridge=1e-3, relative=False, max_iter=7, tol=0.0), **PLAIN},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_whole_solves_in_float64(case):
    task, method, overrides = CASES[case]
    model, problem = model_of(task, method, **overrides), make_problem(task)
    got, want = solve(model, problem, "cpp"), solve(model, problem, "eager")
    assert (got.backend, want.backend) == ("cpp", "eager")
    assert_close(got, want, 1e-11)


# With the usual eps of 1e-8, AdamW makes steps of 1e-11 out of gradients that are zero but for rounding.
SEISMIC = [InnerSolver("adamw", lr=1e-3, steps=2, eps=1e-6), InnerSolver("gradient", lr=1e-3)]


@pytest.mark.parametrize("theta_solver", SEISMIC, ids=lambda solver: solver.name)
def test_the_authors_seismic_network(theta_solver):
    model = model_of(
        "deconv", LU, residual="wavelet-mlp", theta_scope="batch", channels=8, residual_channels=8, depth=3,
        iterations=2, theta_solver=theta_solver,
    )
    problem = make_problem("deconv", batch=4, height=128, width=50)
    assert_close(solve(model, problem, "cpp"), solve(model, problem, "eager"), 1e-11)


@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (40, 13), (8, 200)], ids=str)
def test_any_size(shape):
    for task in TASKS:
        model, problem = model_of(task, LU, **FAST_THETA), make_problem(task, batch=1, height=shape[0], width=shape[1])
        assert_close(solve(model, problem, "cpp"), solve(model, problem, "eager"), 1e-11)


def test_what_the_samples_share():
    """One forward model for all samples, and one depth map."""
    for task in TASKS:
        y, A0 = make_problem(task)
        problem, model = (y, A0.select(0)), model_of(task, LU, **FAST_THETA)
        assert_close(solve(model, problem, "cpp"), solve(model, problem, "eager"), 1e-11)


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_a_best_iterate_that_is_not_the_last(scope):
    model = model_of(
        "deblur", DEQ, fixed_point=FixedPointConfig("picard", max_iter=8, tol=0.0), offset="none", theta_scope=scope,
        z_solver=InnerSolver("adamw", lr=0.3), theta_solver=InnerSolver("adamw", lr=0.05), **PLAIN,
    )
    with torch.no_grad():
        model.eta.fill_(0.6)
    problem = make_problem("deblur")
    got, want = solve(model, problem, "cpp"), solve(model, problem, "eager")
    assert (want.residuals.argmin(0) < 7).any()
    assert_close(got, want, 1e-11)


# One iteration in float32: task, overrides
STEPS = {
    **{task: (task, {}) for task in TASKS},
    **{f"{task} shared": (task, {"theta_scope": "batch"}) for task in TASKS},
    "deconv conv": ("deconv", {"residual": "conv"}),
    "deblur none": ("deblur", {"residual": "none"}),
    "deconv mlp": (
        "deconv",
        {"residual": "wavelet-mlp", "theta_scope": "batch", "channels": 8, "residual_channels": 8, "depth": 3},
    ),
}
WIDE = {"channels": 64, "residual_channels": 64, "depth": 9, "groups": 4}
STEPS |= {f"{task} wide": (task, WIDE) for task in TASKS}


def inside(model, problem):
    """x, z and a state as they are in the middle of a solve, float32."""
    work = work_of(model, problem)
    x, aux = work.start(torch.arange(len(problem[0])))
    for i, name in enumerate(aux):
        if name.startswith("moment1"):
            aux[name] = rand(*aux[name].shape, seed=i, dtype=torch.float32) * 1e-3
        elif name.startswith("moment2"):
            aux[name] = rand(*aux[name].shape, seed=i, dtype=torch.float32).abs() * 1e-5 + 1e-7
    aux["z"] = x + 0.1 * rand(*x.shape, seed=50, dtype=torch.float32)
    aux["count"] = aux["count"] + 4
    return work, x + 0.1 * rand(*x.shape, seed=51, dtype=torch.float32), aux


def widened(aux):
    return {name: value.double() if value.is_floating_point() else value for name, value in aux.items()}


PRECISIONS = [*((case, "fast") for case in STEPS), *((case, "strict") for case in (*TASKS, "deconv wide"))]


@pytest.mark.parametrize(("case", "precision"), PRECISIONS)
def test_one_iteration_in_float32(case, precision):
    task, overrides = STEPS[case]
    model = model_of(task, LU, torch.float32, **overrides)
    model.precision = precision
    size = {"height": 128, "width": 50} if overrides.get("residual") == "wavelet-mlp" else {"height": 27, "width": 18}
    batch = 4 if overrides.get("residual") == "wavelet-mlp" else 2  # BatchNorm of two samples leaves no gradient
    y, A0 = make_problem(task, torch.float32, batch, **size)
    work, x, aux = inside(model, (y, A0))
    twin, start = double(model), widened(aux)
    exact = Problem(y.double(), A0.to(dtype=torch.float64), twin.residual, twin.config, "eager")
    theta, theta64 = ({n[6:]: v for n, v in state.items() if n.startswith("theta.")} for state in (aux, start))

    fused = fused_problem(model, (y, A0))
    with torch.no_grad():
        got = fused.gradient_z(theta, aux["z"], x)
        error = distance(got, exact.gradient_z(theta64, start["z"], x.double()))
        assert error <= 1e-5, f"gradient of z: error {error:.2e}"
        got, want = fused.gradient_theta(theta, aux["z"]), exact.gradient_theta(theta64, start["z"]) if theta else {}
        assert got.keys() == want.keys()
        largest = max((float(value.abs().max()) for value in want.values()), default=0.0)
        for name, value in got.items():
            if name.endswith(MEANINGLESS):
                assert value.abs().max() <= 1e-5 * largest
                continue
            error = distance(value, want[name])
            assert error <= 1e-5, f"gradient of {name}: error {error:.2e}"

        want_x, want_aux = AdaptiveStep(exact, twin.prox, twin.eta)(x.double(), start)
        got_x, got_aux = work.step(torch.arange(batch), x, aux)
    error = distance(got_x, want_x)
    assert error <= 1e-5, f"x: error {error:.2e}"
    assert got_aux.keys() == want_aux.keys() and torch.equal(got_aux["count"], want_aux["count"])
    for name, value in got_aux.items():
        error = distance(value, want_aux[name])
        assert error <= 1e-5, f"{name}: error {error:.2e}"


@pytest.mark.parametrize("method", ["direct", "robust-lu"])
def test_one_plain_iteration_in_float32(method):
    for task in TASKS:
        model = model_of(task, method, torch.float32, **{**WIDE, "iterations": 1})
        y, A0 = make_problem(task, torch.float32)
        want = solve(double(model), (y.double(), A0.to(dtype=torch.float64)), "eager").x
        got, index = solve(model, (y, A0)).x, torch.arange(len(y))
        assert distance(got, want) <= 1e-5
        with torch.no_grad():
            assert torch.equal(work_of(model, (y, A0)).step(index, y, {})[0], got)


def test_strict_is_nearer_to_float64():
    model = model_of("deconv", LU, torch.float32, **WIDE)
    y, A0 = make_problem("deconv", torch.float32, batch=2, height=32, width=24)
    want = solve(double(model), (y.double(), A0.to(dtype=torch.float64)), "eager").x
    found = {}
    for model.precision in ("fast", "strict"):
        found[model.precision] = distance(solve(model, (y, A0)).x, want)
    assert found["strict"] < 0.8 * found["fast"]

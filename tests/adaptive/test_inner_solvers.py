"""Updates of z and theta against their definitions."""

from dataclasses import replace

import pytest
import torch

from aafast.adaptive.objective import Problem
from aafast.adaptive.state import initial, theta_of
from aafast.adaptive.theta_solvers import start_theta, update_theta
from aafast.adaptive.z_solvers import update_z
from aafast.config import InnerSolver
from aafast.errors import InputError
from aafast.nets import build_residual
from aafast.physics import WaveletConvolution
from aafast.tasks import settings

from .conftest import make_problem

DOUBLE = torch.float64


def problem(task, scope="sample", batch=3, perturb=0.0, **overrides):
    config = settings(task, "adaptive-lu", theta_scope=scope, residual_channels=8, **overrides)
    torch.manual_seed(1)
    residual = build_residual(config).double()
    y, A0 = make_problem(task, batch=batch, dtype=DOUBLE)
    theta = residual.start(1 if scope == "batch" else batch)
    theta = {name: value + perturb * torch.randn_like(value) for name, value in theta.items()}
    return Problem(y, A0, residual, config), theta


def using(prob, **changes):
    return Problem(prob.y, prob.A0, prob.residual, replace(prob.config, **changes))


def test_adamw_z_step_is_the_authors_soft_sign(task):
    prob, theta = problem(task, perturb=0.05)
    z, x = 0.9 * prob.y, 0.8 * prob.y
    point = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(prob.objective(theta, point, x), point)
    parameter = torch.nn.Parameter(z.clone())
    optimizer = torch.optim.AdamW([parameter], lr=1e-4)
    parameter.grad = gradient
    optimizer.step()
    torch.testing.assert_close(update_z(prob, theta, z, x), parameter.detach(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["adamw", "gradient", "cg", "exact"])
def test_every_z_solver_descends(task, name):
    if (task, name) == ("deblur", "exact"):
        pytest.skip("a zero-padded blur has no closed form; see test_exact_without_a_closed_form_says_what_to_use")
    prob, theta = problem(task)
    prob = using(prob, z_solver=InnerSolver(name, steps=3))
    z, x = prob.y.clone(), 0.5 * prob.y
    before = prob.objective(theta, z, x)
    assert prob.objective(theta, update_z(prob, theta, z, x), x) < before


def test_exact_is_the_minimiser_and_cg_gets_there():
    prob, theta = problem("deconv", gamma=0.0)
    theta["dw"] = 0.05 * torch.randn_like(theta["dw"])
    theta["conv3_weight"].zero_()  # leaves the objective quadratic in z
    prob = using(prob, z_solver=InnerSolver("exact"))
    x = 0.5 * prob.y
    z = update_z(prob, theta, prob.y, x).requires_grad_()
    (gradient,) = torch.autograd.grad(prob.objective(theta, z, x), z)
    assert not gradient.abs().max() > 1e-12
    by_cg = update_z(using(prob, z_solver=InnerSolver("cg", steps=120)), theta, prob.y, x)
    torch.testing.assert_close(by_cg, z.detach(), rtol=1e-6, atol=1e-8)


def test_exact_without_a_closed_form_says_what_to_use():
    prob, theta = problem("deblur")
    with pytest.raises(InputError, match='"cg"'):
        update_z(using(prob, z_solver=InnerSolver("exact")), theta, prob.y, prob.y)


def test_gradient_steps_reach_the_exact_minimiser():
    prob, theta = problem("deconv", gamma=0.0, lam=1.0)
    theta["conv3_weight"].zero_()
    x = 0.5 * prob.y
    exact = update_z(using(prob, z_solver=InnerSolver("exact")), theta, prob.y, x)
    found = update_z(using(prob, z_solver=InnerSolver("gradient", steps=600)), theta, prob.y, x)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_theta_adamw_is_torchs(task, scope):
    prob, theta = problem(task, scope=scope, theta_solver=InnerSolver("adamw", lr=1e-3))
    z = 0.9 * prob.y
    leaves = {name: torch.nn.Parameter(value.clone()) for name, value in theta.items()}
    optimizer = torch.optim.AdamW(leaves.values(), lr=1e-3)
    state = initial(prob.y, {name: value.clone() for name, value in theta.items()})
    for _ in range(3):
        optimizer.zero_grad()
        prob.misfit(dict(leaves), z).backward()
        optimizer.step()
        found, first, second = update_theta(prob, state, z)
        state = {"z": z, "count": state["count"] + 1}
        state |= {f"theta.{k}": v for k, v in found.items()}
        state |= {f"moment1.{k}": v for k, v in first.items()}
        state |= {f"moment2.{k}": v for k, v in second.items()}
    for name, leaf in leaves.items():
        torch.testing.assert_close(theta_of(state)[name], leaf.detach(), rtol=1e-9, atol=1e-13)


def test_a_stopped_sample_leaves_the_moments_of_a_shared_theta_alone():
    prob, theta = problem("deconv", scope="batch", theta_solver=InnerSolver("adamw", lr=1e-3))
    state = initial(prob.y, theta)
    found = []
    for counts in ([5, 5, 5], [1, 5, 5]):
        state["count"] = torch.tensor(counts)
        found.append(update_theta(prob, state, prob.y)[0]["dw"])
    assert torch.equal(*found)


def test_theta_steps_lower_the_misfit(task):
    for solver in (InnerSolver("adamw", lr=1e-3, steps=4), InnerSolver("gradient", lr=1e-3, steps=4)):
        prob, theta = problem(task, theta_solver=solver)
        z = prob.y.clone()
        found, _, _ = update_theta(prob, initial(z, theta), z)
        assert prob.misfit(found, z) < prob.misfit(theta, z)


def test_no_adaptation_changes_nothing(task):
    prob, theta = problem(task, theta_solver=InnerSolver("none"))
    found, _, _ = update_theta(prob, initial(prob.y, theta), prob.y)
    assert all(torch.equal(found[name], theta[name]) for name in theta)


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_least_squares_finds_the_wavelet_error_from_the_true_reflectivity(scope):
    torch.manual_seed(0)
    true, nominal = (torch.randn(51, dtype=DOUBLE) for _ in range(2))
    z = torch.randn(2, 1, 120, 20, dtype=DOUBLE)
    config = settings(
        "deconv",
        "adaptive-lu",
        theta_scope=scope,
        residual_channels=8,
        theta_solver=InnerSolver("least-squares", damping=1e-9),
    )
    residual = build_residual(config).double()
    residual.start_values["conv3_weight"].zero_()
    prob = Problem(WaveletConvolution(true).A(z), WaveletConvolution(nominal), residual, config)
    found, _, _ = update_theta(prob, initial(z, residual.start(1 if scope == "batch" else 2)), z)
    estimate = residual.wavelet(found, prob.A0)
    torch.testing.assert_close(estimate, true.expand_as(estimate), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_least_squares_keeps_dw_where_there_is_nothing_to_fit(damping):
    solver = InnerSolver("least-squares", damping=damping)
    prob, theta = problem("deconv", theta_solver=solver, perturb=0.05)
    z = prob.y.clone()
    z[0] = 0
    found, _, _ = update_theta(prob, initial(z, theta), z)
    rest = {name: value[1:2] for name, value in theta.items()}
    assert torch.isfinite(found["dw"]).all()
    if not damping:
        assert torch.equal(found["dw"][0], theta["dw"][0])
    one = Problem(prob.y[1:2], prob.A0.select(1), prob.residual, prob.config)
    expected, _, _ = update_theta(one, initial(z[1:2], rest), z[1:2])
    torch.testing.assert_close(found["dw"][1:2], expected["dw"], rtol=1e-8, atol=1e-10)


def test_least_squares_needs_a_wavelet_correction():
    prob, theta = problem("deblur", theta_solver=InnerSolver("least-squares"))
    with pytest.raises(InputError, match="adamw"):
        update_theta(prob, initial(prob.y, theta), prob.y)


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_least_squares_starts_with_the_rest_that_explains_the_data_best(scope):
    damping, samples = 0.5, 1 if scope == "batch" else 3
    prob, _ = problem("deconv", scope, theta_solver=InnerSolver("least-squares", damping=damping))
    theta = prob.residual.start(samples)
    start = start_theta(prob, samples)
    z = prob.A0.solve_normal(prob.A0.A_adjoint(prob.y), prob.config.lam)
    wrong = prob.y - prob.A0.A(z)
    rest, scaled = (prob.residual(given, z, prob.A0)[0] - prob.A0.A(z) for given in (theta, start))
    for rows in [slice(0, 3)] if scope == "batch" else [slice(i, i + 1) for i in range(3)]:
        gains = torch.linspace(-1.0, 1.0, 20001, dtype=DOUBLE)
        f, e = rest[rows], wrong[rows]
        objective = e.square().sum() - 2 * gains * (e * f).sum() + (1 + damping) * gains.square() * f.square().sum()
        best = gains[objective.argmin()]
        torch.testing.assert_close(scaled[rows], best * f, rtol=0, atol=1e-4 * float(f.abs().max()))
    untouched = [name for name in theta if name != "conv3_weight"]
    assert all(torch.equal(start[name], theta[name]) for name in untouched)


def test_the_scale_of_the_rest_does_not_matter_to_least_squares():
    prob, _ = problem("deconv", theta_solver=InnerSolver("least-squares"))
    first = start_theta(prob, 3)
    prob.residual.start_values["conv3_weight"].mul_(-10)
    again = start_theta(prob, 3)
    torch.testing.assert_close(again["conv3_weight"], first["conv3_weight"], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["none", "adamw", "gradient"])
def test_other_solvers_start_where_theta_was_saved(name):
    prob, theta = problem("deconv", theta_solver=InnerSolver(name))
    start = start_theta(prob, 3)
    assert all(torch.equal(start[key], theta[key]) for key in theta)

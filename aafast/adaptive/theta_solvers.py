"""Updates of the mismatch parameters theta, by name."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, describe
from ..nets.residual import Theta
from .objective import Problem
from .state import Aux, moments_of, theta_of
from .wavelet_fit import normal_equations

BETA1, BETA2 = 0.9, 0.999
Updated = tuple[Theta, Theta, Theta]


def adamw(problem: Problem, state: Aux, z: Tensor) -> Updated:
    """AdamW with moments kept in the state: one step per iteration is the authors' update."""
    inner = problem.config.theta_solver
    theta = theta_of(state)
    first, second = moments_of(state)
    for step in range(inner.steps):
        count = (state["count"] * inner.steps + step + 1).to(torch.float64)
        gradients = problem.gradient_theta(theta, z)
        for name, g in gradients.items():
            value = theta[name]
            shape = (-1, *(1,) * (value.ndim - 1))
            # A sample that has stopped counts no further; a theta shared by all goes on with those that run.
            counts = count if len(value) == len(count) else count.amax(0, keepdim=True)
            first[name] = torch.lerp(first[name], g, 1 - BETA1)
            second[name] = second[name] * BETA2 + (1 - BETA2) * g * g
            size = (inner.lr / (1 - BETA1**counts)).view(shape).to(value.dtype)
            unbias = (1 - BETA2**counts).sqrt().view(shape).to(value.dtype)
            decayed = value * (1 - inner.lr * inner.weight_decay)
            theta[name] = decayed - size * first[name] / (second[name].sqrt() / unbias + inner.eps)
    return theta, first, second


def gradient(problem: Problem, state: Aux, z: Tensor) -> Updated:
    """Plain gradient steps of size lr."""
    inner = problem.config.theta_solver
    theta = theta_of(state)
    for _ in range(inner.steps):
        gradients = problem.gradient_theta(theta, z)
        theta = {name: value - inner.lr * gradients[name] for name, value in theta.items()}
    return theta, *moments_of(state)


def least_squares(problem: Problem, state: Aux, z: Tensor) -> Updated:
    """dw = argmin ||y - A0 z - f_conv - dw * z||^2 + damping (tr G / K) ||dw||^2, G the Gram matrix of shifts of z.

    dw stays as it is where that system is singular (no damping and z = 0).
    """
    theta = theta_of(state)
    dw = theta.get("dw")
    if dw is None:
        raise InputError(
            describe(
                'theta solver "least-squares"',
                problem.config.residual,
                'residual "wavelet"',
                'Use the theta solver "adamw" with this mismatch network',
            )
        )
    taps = dw.shape[1]
    without = {**theta, "dw": torch.zeros_like(dw)}
    y_hat, _ = problem.residual(without, z, problem.A0)
    gram, right = normal_equations(z, problem.y - y_hat, taps)
    if len(dw) == 1:
        gram, right = gram.sum(0, keepdim=True), right.sum(0, keepdim=True)
    trace = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(gram.dtype).tiny)
    eye = torch.eye(taps, dtype=gram.dtype, device=gram.device)
    damped = gram + (problem.config.theta_solver.damping * trace)[:, None, None] * eye
    solved, singular = torch.linalg.solve_ex(damped, right)
    theta["dw"] = torch.where((singular != 0)[:, None], dw, solved)
    return theta, *moments_of(state)


def fitted_rest(problem: Problem, theta: Theta) -> Theta:
    """theta with the convolutional rest scaled by g = argmin ||y - A0 z - g f_conv||^2 + damping g^2 ||f_conv||^2.

    z = argmin ||y - A0 z||^2 + lam ||z||^2: what the nominal model makes of the data. The theta-step moves dw alone,
    so kernels that explain nothing would otherwise stay in y_hat for the whole solve.
    """
    config, A0 = problem.config, problem.A0
    z = A0.solve_normal(A0.A_adjoint(problem.y), config.lam)
    if z is None or "dw" not in theta:
        return theta
    y_hat, nominal = problem.residual({**theta, "dw": torch.zeros_like(theta["dw"])}, z, A0)
    rest = (y_hat - nominal).flatten(1)
    right = (rest * (problem.y - nominal).flatten(1)).sum(1)
    power = rest.square().sum(1)
    if len(theta["dw"]) == 1:
        right, power = right.sum(0, keepdim=True), power.sum(0, keepdim=True)
    gain = right / ((1 + config.theta_solver.damping) * power).clamp_min(torch.finfo(power.dtype).tiny)
    weight = theta["conv3_weight"]
    return {**theta, "conv3_weight": weight * gain.view(-1, *(1,) * (weight.ndim - 1))}


def keep(problem: Problem, state: Aux, z: Tensor) -> Updated:
    """No adaptation of theta."""
    return theta_of(state), *moments_of(state)


THETA_UPDATES = {"none": keep, "adamw": adamw, "gradient": gradient, "least-squares": least_squares}
THETA_STARTS = {"least-squares": fitted_rest}  # of solvers that fit the start to the data; others take it as saved


def start_theta(problem: Problem, samples: int) -> Theta:
    """theta before the first iteration, every tensor [samples, ...]."""
    theta = problem.residual.start(samples)
    fit = THETA_STARTS.get(problem.config.theta_solver.name)
    if fit is None or not theta:
        return theta
    with torch.no_grad():
        return fit(problem, theta)


def update_theta(problem: Problem, state: Aux, z: Tensor) -> Updated:
    """theta and its moments after one update at z."""
    if not theta_of(state):  # the residual "none" has nothing to adapt
        return keep(problem, state, z)
    with torch.no_grad():
        return THETA_UPDATES[problem.config.theta_solver.name](problem, state, z)

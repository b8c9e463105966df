"""Updates of the auxiliary variable z, by name."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from ..errors import InputError, describe
from ..nets.residual import Theta
from ..physics import ForwardModel
from .objective import Problem


def adamw(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
    """The authors' step, a fresh AdamW each time: z <- z (1 - lr wd) - lr g / (|g| + eps)."""
    inner = problem.config.z_solver
    for _ in range(inner.steps):
        gradient = problem.gradient_z(theta, z, x)
        z = ops.z_step(z.detach(), gradient, inner.lr, inner.weight_decay, inner.eps, problem.backend)
    return z


def gradient(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
    """Gradient steps of size 1 / L with L = 2 (||A||^2 + lam) / pixels, the Lipschitz constant of the linear part."""
    config = problem.config
    model = problem.residual.linearised(theta, problem.A0)
    bound = (1 + config.gamma) * model.norm(z).square() + config.lam
    pixels = z.numel() if config.theta_scope == "batch" else z[0].numel()
    size = (pixels / (2 * bound)).view(-1, 1, 1, 1)
    for _ in range(config.z_solver.steps):
        z = z.detach() - size * problem.gradient_z(theta, z, x)
    return z


def _linear_system(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> tuple[ForwardModel, Tensor]:
    """The corrected linear part B and the right-hand side B^T (y - r) + lam x, r the rest frozen at the last z."""
    model = problem.residual.linearised(theta, problem.A0)
    with torch.no_grad():
        point = z.detach()
        y_hat = problem.residual(theta, point, problem.A0)[0]
        rest = y_hat - _linear(model, point)
        pulled = model.A_adjoint(problem.y - rest)
    return model, pulled + problem.config.lam * x


def _linear(model: ForwardModel, z: Tensor) -> Tensor:
    """The linear part of an affine model."""
    return model.A(z) if model.linear else model.A(z) - model.A(torch.zeros_like(z))


def exact(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
    """z = (B^T B + lam I)^-1 (B^T (y - r) + lam x), B the corrected linear model, in closed form.

    The penalty gamma on the correction itself is left to the theta-step.
    """
    model, rhs = _linear_system(problem, theta, z, x)
    solved = model.solve_normal(rhs, problem.config.lam)
    if solved is None:
        raise InputError(
            describe(
                'z solver "exact"',
                type(model).__name__,
                "a forward model with solve_normal",
                'Use the z solver "cg" for this forward model',
            )
        )
    return solved


def cg(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
    """`steps` conjugate-gradient steps on the system of `exact`, from the last z."""
    lam = problem.config.lam
    model, rhs = _linear_system(problem, theta, z, x)

    def normal(v: Tensor) -> Tensor:
        return model.A_adjoint(_linear(model, v)) + lam * v

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=(1, 2, 3), keepdim=True)

    tiny = torch.finfo(rhs.dtype).tiny
    z = z.detach()
    r = rhs - normal(z)
    p, rr = r, dot(r, r)
    for _ in range(problem.config.z_solver.steps):
        image = normal(p)
        step = rr / dot(p, image).clamp_min(tiny)
        z = z + step * p
        r = r - step * image
        previous, rr = rr, dot(r, r)
        p = r + rr / previous.clamp_min(tiny) * p
    return z


Z_UPDATES = {"adamw": adamw, "gradient": gradient, "cg": cg, "exact": exact}
SMOOTH = ("cg", "exact")


def update_z(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
    """z after one update; gradients of training pass to x where the settings ask for it and the update is smooth."""
    inner = problem.config.z_solver
    if inner.differentiate and inner.name in SMOOTH:
        return Z_UPDATES[inner.name](problem, theta, z, x)
    with torch.no_grad():
        return Z_UPDATES[inner.name](problem, theta, z, x)

"""One iteration of the adaptive method: z, then theta, then x (paper eq. 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..nets.prox import ProximalNetwork
from .objective import Problem
from .state import Aux, theta_of, updated
from .theta_solvers import update_theta
from .z_solvers import SMOOTH, update_z


class AdaptiveStep:
    """The map (x, state) -> (x, state) of one iteration; it owns nothing that changes.

    z <- step on mse(y, y_hat(z)) + gamma mse(y_hat(z), A0 z) + lam mse(x, z);
    theta <- step on mse(y, y_hat(z)) + gamma mse(y_hat(z), A0 z);
    x <- R_rho([x' - exp(eta) (x' - z), y]), x' = x or x - x0, as `offset` says.
    """

    def __init__(self, problem: Problem, prox: ProximalNetwork, eta: Tensor) -> None:
        self.problem, self.prox, self.eta = problem, prox, eta

    def prox_step(self, x: Tensor, z: Tensor) -> Tensor:
        """The x-update alone: differentiable in x, z and the weights."""
        config = self.problem.config
        x0 = self.problem.y
        centred = x if config.offset == "none" else x - x0
        point = centred - torch.exp(self.eta) * (centred - z)
        out = self.prox(torch.cat([point, self.problem.y], dim=1) if config.feed_y else point)
        return out + x0 if config.offset == "residual" else out

    def __call__(self, x: Tensor, state: Aux) -> tuple[Tensor, Aux]:
        z = update_z(self.problem, theta_of(state), state["z"], x)
        theta, first, second = update_theta(self.problem, state, z)
        return self.prox_step(x, z), updated(state, z, theta, first, second)

    def frozen(self, state: Aux) -> PhiMap:
        """The differentiable map x -> x of the fixed point, theta held and z a constant unless it is smooth in x."""
        return PhiMap(self, state)


class PhiMap:
    """x -> prox_step(x, z(x)) at a given state."""

    def __init__(self, step: AdaptiveStep, state: Aux) -> None:
        self.step, self.state = step, state

    def __call__(self, x: Tensor) -> Tensor:
        inner = self.step.problem.config.z_solver
        z = self.state["z"]
        if inner.differentiate and inner.name in SMOOTH:
            z = update_z(self.step.problem, theta_of(self.state), z, x)
        return self.step.prox_step(x, z)

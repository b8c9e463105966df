"""AdamW on theta in one pass over its memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..adaptive.state import Aux, moments_of, theta_of
from ..adaptive.theta_solvers import BETA1, BETA2, Updated
from ..ops import _native
from .features import Outer
from .problem import FusedProblem


def adamw(problem: FusedProblem, state: Aux, z: Tensor) -> Updated:
    """The steps of aafast.adaptive.theta_solvers.adamw.

    A theta shared by several samples moves in place: nothing holds on to its past, and the authors' 10 million weights
    take longer to copy than to update. theta per sample is written anew, so that the best iterate keeps its own.
    """
    inner = problem.config.theta_solver
    theta, (first, second) = theta_of(state), moments_of(state)
    counts = state["count"]
    shared = len(next(iter(theta.values()))) == 1
    in_place = shared and len(counts) > 1
    for step in range(inner.steps):
        gradients = problem.theta_gradient(theta, z)
        numbers = (counts * inner.steps + step + 1).tolist()
        numbers = [max(numbers)] if shared else numbers
        sizes = [(inner.lr / (1 - BETA1**n), math.sqrt(1 - BETA2**n)) for n in numbers]
        if in_place:
            problem.residual.forget()
        for name, gradient in gradients.items():
            old = [part[name].contiguous() for part in (theta, first, second)]
            new = old if in_place else [torch.empty_like(part) for part in old]
            _step(sizes, inner.lr, inner.weight_decay, inner.eps, gradient, old, new)
            theta[name], first[name], second[name] = new
    return theta, first, second


def _step(
    sizes: list[tuple[float, float]],
    lr: float,
    weight_decay: float,
    eps: float,
    gradient: Tensor | Outer,
    old: list[Tensor],
    new: list[Tensor],
) -> None:
    addresses = [tensor.data_ptr() for tensor in (*old, *new)]
    value, keep, threads = old[0], 1 - lr * weight_decay, torch.get_num_threads()
    if isinstance(gradient, Outer):
        left, right = gradient.left.contiguous(), gradient.right.contiguous()
        _native.call(
            "adamw_outer_cpu", value.dtype, sizes[0], keep, eps, len(left), left.shape[1], right.shape[1],
            left.data_ptr(), right.data_ptr(), addresses, threads,
        )
        return
    gradient = gradient.contiguous()
    sets = len(value)
    _native.call(
        "adamw_cpu", value.dtype, sizes, keep, eps, sets, value.numel() // sets, gradient.data_ptr(), addresses, threads
    )

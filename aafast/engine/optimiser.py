"""AdamW on theta in one pass over its memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..adaptive.state import Aux, moments_of, theta_of
from ..adaptive.theta_solvers import BETA1, BETA2, Updated
from ..config import InnerSolver
from ..nets.residual import Theta
from ..ops import _native
from .features import Outer
from .problem import FusedProblem


def adamw(problem: FusedProblem, state: Aux, z: Tensor) -> Updated:
    """The steps of aafast.adaptive.theta_solvers.adamw, by the native module.

    A theta shared by several samples moves in place: nothing holds on to its past, and the authors' 10 million weights
    take longer to copy than to update. theta per sample is written anew, so that the best iterate keeps its own.
    """
    inner = problem.config.theta_solver
    theta, (first, second) = theta_of(state), moments_of(state)
    counts = state["count"]
    shared = len(next(iter(theta.values()))) == 1
    in_place = shared and len(counts) > 1
    on_device = problem.residual.place.backend == "cuda"
    for step in range(inner.steps):
        gradients = problem.theta_gradient(theta, z)
        if in_place:
            problem.residual.forget()
        if on_device:
            if not in_place and step == 0:
                theta, first, second = (
                    {name: value.clone() for name, value in part.items()} for part in (theta, first, second)
                )
            adamw_on_device(inner, step, gradients, (theta, first, second), counts.to(torch.int32), None)
            continue
        numbers = (counts * inner.steps + step + 1).tolist()
        numbers = [max(numbers)] if shared else numbers
        sizes = [(inner.lr / (1 - BETA1**n), math.sqrt(1 - BETA2**n)) for n in numbers]
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


def adamw_on_device(
    inner: InnerSolver,
    step: int,
    gradients: dict[str, Any],
    state: tuple[Theta, Theta, Theta],
    iterations: Tensor,
    status: Tensor | None,
) -> None:
    """Step number `step` of an iteration, in place on theta and its moments, all tensors in one launch.

    iterations: int32 [B], finished iterations of each sample. status: int8 [B], not 0 for samples that stay.
    """
    rule = (inner.lr, inner.weight_decay, inner.eps, BETA1, BETA2)
    count = (iterations.data_ptr(), inner.steps, step, len(iterations))
    stopped, where = 0 if status is None else status.data_ptr(), _native.where(iterations)
    tensors, alive, sets = [], [], 1
    for name, gradient in gradients.items():
        own = [part[name] for part in state]
        addresses = [tensor.data_ptr() for tensor in own]
        if isinstance(gradient, Outer):
            left, right = gradient.left.contiguous(), gradient.right.contiguous()
            _native.invoke(
                "adamw_outer_cuda", left.shape[1], right.shape[1], left.data_ptr(), right.data_ptr(), rule, count,
                stopped, where, *addresses,
            )
            continue
        gradient, sets = gradient.contiguous(), len(own[0])
        alive.append(gradient)
        tensors.append((*addresses, gradient.data_ptr(), own[0].numel() // sets, len(gradient)))
    if tensors:
        _native.invoke("adamw_cuda", tensors, sets, rule, count, stopped, where)

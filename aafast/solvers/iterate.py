"""The one loop: evaluate, test, keep the best, propose; each sample stops by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config import FixedPointConfig
from .anderson import Anderson
from .base import Aux, FixedPointSolver, Solution
from .broyden import Broyden
from .momentum import Momentum
from .picard import Picard
from .progress import Progress, poll_of

RESTART = 2.0
Step = Callable[[Tensor, Aux], tuple[Tensor, Aux]]


def make_solver(config: FixedPointConfig, backend: str = "auto") -> FixedPointSolver:
    """The fixed-point solver that `config.name` names."""
    m, beta, restart = config.m, config.beta, config.restart
    if config.name == "anderson":
        if restart is None:
            restart = RESTART if beta is None else 0.0
        return Anderson(m, beta, config.ridge, config.relative, backend, restart, config.drop)
    if config.name == "broyden":
        return Broyden(m, beta, restart or 0.0)
    if config.name == "momentum":
        return Momentum(beta)
    return Picard(1.0 if beta is None else beta)


def iterate(
    step: Step,
    x0: Tensor,
    aux0: Aux,
    config: FixedPointConfig,
    keep: str = "best",
    watch: Callable[[int, Tensor, Tensor], None] | None = None,
    backend: str = "auto",
) -> Solution:
    """Iterate (x, aux) -> step(x, aux) until every sample has stopped.

    A sample stops when its relative residual ||f(x) - x|| / ||f(x)|| falls below `config.tol` (0: never), when it is
    no longer finite (status DIVERGED), or after `config.max_iter` evaluations. What follows a stop is a no-op for that
    sample. keep="best" returns the image of the point of least residual, "last" that of the last point. `step` returns
    new tensors, or its arguments: what it returned is kept by reference.
    `watch(k, x, f(x))` is called after every evaluation. `backend` is that of the mixing operation.
    In the solution's aux, "point" is the argument whose image was returned; the other entries are the state after
    that evaluation.
    """
    solver = make_solver(config, backend)
    memory = solver.init(x0)
    x, aux = x0, aux0
    progress = Progress(x0, aux0, config, keep)
    curve: list[Tensor] = []
    poll = poll_of(x0.device)
    for k in range(config.max_iter):
        image, fresh = step(x, aux)
        if watch is not None:
            watch(k, x, image)
        following, norms, memory = solver.propose(memory, k, x, image)
        curve.append(progress.record(x, image, fresh, norms))
        # A traced loop runs to its end: the host's look at the flags would break it in two.
        if not torch.compiler.is_compiling() and (k + 1) % poll == 0 and not progress.running.any():
            break
        x, aux = progress.advance(following, fresh, (x, aux))
    if len(curve) >= poll > 1:  # drop what was evaluated after the last stop, before the flags were looked at
        curve = curve[: int(progress.iterations.max())]
    return progress.solution(torch.stack(curve))

"""The one loop: evaluate, test, keep the best, propose; each sample stops by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config import FixedPointConfig
from .anderson import Anderson
from .base import Aux, FixedPointSolver, Solution, Status
from .picard import Picard

Step = Callable[[Tensor, Aux], tuple[Tensor, Aux]]
_TINY = 1e-12
_POLL = {"cpu": 1}  # on other devices the host looks at the flags only now and then
_POLL_OTHER = 8


def make_solver(config: FixedPointConfig, backend: str = "auto") -> FixedPointSolver:
    """The fixed-point solver that `config.name` names."""
    if config.name == "anderson":
        return Anderson(config.m, config.beta, config.ridge, config.relative, backend)
    return Picard(config.beta)


def _choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Per sample `new` where mask, else `old`; what all samples share is always new."""
    if len(new) != len(mask) or new.shape != old.shape:
        return new
    return torch.where(mask.view(-1, *(1,) * (new.ndim - 1)), new, old)


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
    sample. keep="best" returns the image of the point of least residual, "last" that of the last point.
    `watch(k, x, f(x))` is called after every evaluation. `backend` is that of the mixing operation.
    In the solution's aux, "point" is the argument whose image was returned; the other entries are the state after
    that evaluation.
    """
    solver = make_solver(config, backend)
    memory = solver.init(x0)
    batch = len(x0)
    x, aux = x0, aux0
    kept: Aux = {**aux0, "point": x0, "image": x0}
    least = torch.full((batch,), float("inf"), dtype=x0.dtype, device=x0.device)
    status = torch.zeros(batch, dtype=torch.int8, device=x0.device)
    iterations = torch.zeros(batch, dtype=torch.int64, device=x0.device)
    curve: list[Tensor] = []
    poll = _POLL.get(x0.device.type, _POLL_OTHER)
    for k in range(config.max_iter):
        image, fresh = step(x, aux)
        if watch is not None:
            watch(k, x, image)
        following, norms, memory = solver.propose(memory, k, x, image)
        running = status == Status.RUNNING
        residual = (norms[:, 0].sqrt() / norms[:, 1].sqrt().clamp_min(_TINY)).detach().to(x0.dtype)
        finite = torch.isfinite(residual)
        better = running & finite & ((residual < least) if keep == "best" else finite)
        least = torch.where(better, residual, least)
        found = {**fresh, "point": x, "image": image}
        kept = {name: _choose(better, found[name], kept[name]) if name in kept else found[name] for name in found}
        iterations = iterations + running
        curve.append(torch.where(running, residual, float("nan")))
        status = torch.where(running & ~finite, int(Status.DIVERGED), status)
        status = torch.where(running & finite & (residual < config.tol), int(Status.CONVERGED), status)
        still = status == Status.RUNNING
        x = _choose(still, following, x)
        aux = {name: _choose(still, fresh[name], aux[name]) if name in aux else fresh[name] for name in fresh}
        if (k + 1) % poll == 0 and not still.any():
            break
    if len(curve) >= poll > 1:  # drop what was evaluated after the last stop, before the flags were looked at
        curve = curve[: int(iterations.max())]
    status = torch.where(status == Status.RUNNING, int(Status.MAX_ITER), status).to(torch.int8)
    image = kept.pop("image")
    return Solution(image, status, iterations, torch.stack(curve), aux=kept)

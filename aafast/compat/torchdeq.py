"""torchdeq: our fixed-point solvers among its solvers, and the adaptive step as a map for its models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..adaptive import AdaptiveDEQ, AdaptiveLU
from ..adaptive.state import Aux
from ..checks import COMPUTE_DTYPES, check_choice, check_image, check_same_device, check_tensor
from ..config import FixedPointConfig
from ..errors import InputError, describe, require
from ..physics import as_forward_model
from ..solvers import Progress, make_solver
from ..solvers.progress import merge, poll_of
from ..solvers.rows import norms_of

PREFIX = "aafast_"
SOLVERS = ("anderson", "broyden")
SETTINGS = ("m", "beta", "ridge", "relative", "restart", "drop")
Map = Callable[[Tensor], Tensor]


def register() -> tuple[str, ...]:
    """Make `aafast_anderson` and `aafast_broyden` known to torchdeq, as `f_solver` and `b_solver`; return the names.

    They take the arguments of its own solvers (see `solve`). Raises MissingDependency.
    """
    library = require("torchdeq.solver", extra="torchdeq")
    for name in SOLVERS:
        library.register_solver(PREFIX + name, partial(solve, solver=name))
    return tuple(PREFIX + name for name in SOLVERS)


def solve(
    func: Map,
    x0: Tensor,
    max_iter: int = 50,
    tol: float = 1e-3,
    stop_mode: str = "abs",
    indexing: Sequence[int] | None = None,
    return_final: bool = False,
    solver: str = "anderson",
    **settings: Any,
) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """Find a fixed point of func as torchdeq's solvers do: (x, samples of the trajectory, statistics).

    func maps [B, ...] to [B, ...], or [B] to [B]; x0: float32 or float64. A sample stops when ||f(x) - x|| ("abs"),
    or that over ||f(x)|| ("rel"), is below tol, or after max_iter calls; x is the image of its best point, of its last
    one with return_final, which never stops early. indexing: numbers of calls after which the x of the moment is kept;
    the result has one entry for each, the final x where a solve ended before. settings: m, beta, ridge, relative,
    restart and drop of FixedPointConfig, or torchdeq's own tau (the damping) and lam (an absolute ridge).

    The statistics are torchdeq's SolverStat: abs_lowest and rel_lowest [B], abs_trace and rel_trace [B, max_iter]
    filled up with the lowest, nstep [B], the call that found the lowest. Raises InputError, MissingDependency.
    """
    stat = require("torchdeq.solver.stat", extra="torchdeq")
    check_tensor("x0", x0, None, COMPUTE_DTYPES)
    relative = check_choice("stop_mode", stop_mode, ("abs", "rel")) == "rel"
    config = _config(solver, 0.0 if return_final else tol, int(max_iter), settings)
    x = x0.reshape(len(x0), -1) if x0.ndim > 1 else x0.reshape(-1, 1)
    proposer = make_solver(config)
    memory, progress = proposer.init(x), Progress(x, {}, config, "last" if return_final else "best")
    curves: dict[str, list[Tensor]] = {"abs": [], "rel": []}
    kept: dict[int, Tensor] = {}
    for k in range(config.max_iter):
        image = func(x.view_as(x0)).reshape_as(x)
        following, norms, memory = proposer.propose(memory, k, x, image)
        running, size = progress.running, torch.ones_like(norms[:, 1])
        progress.record(x, image, {}, norms if relative else torch.stack([norms[:, 0], size], dim=1))
        for mode, divisor in (("abs", size), ("rel", norms[:, 1])):
            value = (norms[:, 0] / divisor.clamp_min(torch.finfo(x.dtype).tiny)).sqrt().detach()
            curves[mode].append(torch.where(running, value, float("inf")))
        if indexing and k + 1 in indexing:
            kept[k + 1] = progress.kept["image"].view_as(x0)
        if (k + 1) % poll_of(x.device) == 0 and not progress.running.any():
            break
        x, _ = progress.advance(following, {}, (x, {}))
    found = progress.kept["image"].view_as(x0)
    samples = [kept.get(count, found) for count in indexing or ()]
    return found, samples, _statistics(stat.SolverStat, curves, stop_mode, config.max_iter)


def _config(solver: str, tol: float, max_iter: int, settings: dict[str, Any]) -> FixedPointConfig:
    """The settings of a solve, torchdeq's names translated."""
    values = dict(settings)
    if "tau" in values:
        values["beta"] = values.pop("tau")
    if "lam" in values:
        values |= {"ridge": values.pop("lam"), "relative": False}
    unknown = sorted(set(values) - set(SETTINGS))
    if unknown:
        expected = f"{', '.join(SETTINGS)}, tau or lam"
        raise InputError(describe("settings of a solver", ", ".join(unknown), expected, "Correct the name"))
    return FixedPointConfig(check_choice("solver", solver, SOLVERS), tol=tol, max_iter=max_iter, **values)


def _statistics(kind: type, curves: dict[str, list[Tensor]], mode: str, length: int) -> dict[str, Tensor]:
    """torchdeq's record of a solve from the residuals of each call [B], infinite where a sample had stopped."""
    entries = {}
    for name, curve in curves.items():
        trace = torch.stack(curve, dim=1)
        trace = torch.where(torch.isfinite(trace), trace, float("inf"))
        lowest, step = trace.min(dim=1)
        rest = lowest[:, None].expand(-1, length - trace.shape[1])
        entries[f"{name}_lowest"] = lowest
        entries[f"{name}_trace"] = torch.cat([torch.where(torch.isinf(trace), lowest[:, None], trace), rest], dim=1)
        if name == mode:
            entries["nstep"] = (step + 1).to(torch.float32)
    return kind(**entries)


class Iteration:
    """One iteration of an adaptive model on one measurement, as the function of x that torchdeq's models iterate.

    Without gradients, as its solvers call it, a call is one adaptive step x -> R_rho([x' - exp(eta)(x' - z), y]) that
    moves z and theta on (paper eq. 7). With gradients recorded, as torchdeq differentiates, it is the same x-step
    with z and theta held where the residual was least: what `gradient="one-step"` and "implicit" of our own models
    differentiate. Make one for every solve; a solve leaves its z and theta in `state`.

    model: adaptive-lu or adaptive-deq. y: [B, C, H, W], float32 or float64, on the model's device. A0: a forward
    model. x0 is where the iteration starts, y. The batch is computed together, so a sample's last bits may depend on
    its neighbours. Raises InputError.
    """

    def __init__(self, model: AdaptiveDEQ | AdaptiveLU, y: Tensor, A0: Any) -> None:
        if not isinstance(model, (AdaptiveDEQ, AdaptiveLU)):
            kinds = "an adaptive-lu or adaptive-deq model"
            raise InputError(describe("model of an iteration", type(model).__name__, kinds, "Build one of these"))
        y, forward_model = check_image("y", y, model.config.image_channels), as_forward_model(A0)
        check_same_device(y, **{"the model's weights": model.eta}, **forward_model.tensors())
        y = y.detach().to(model.eta.dtype).contiguous()
        forward_model = forward_model.to(dtype=y.dtype)
        model._check_problem(y, forward_model)
        model.refresh()
        self.model, self.x0 = model, y
        self.state: Aux
        self._step, self.state = model._start(y, model.calibrate(y, forward_model))
        self._best, self._least = self.state, torch.full_like(y[:, 0, 0, 0], float("inf"))

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self._step.frozen(self._best)(x)
        image, self.state = self._step(x, self.state)
        norms = norms_of(x, image)
        residual = norms[:, 0] / norms[:, 1].clamp_min(torch.finfo(x.dtype).tiny)
        better = residual < self._least
        self._least = torch.where(better, residual, self._least)
        self._best = merge(better, self.state, self._best)
        return image

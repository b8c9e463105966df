"""What happens inside a solve, iteration by iteration: error, residual, and the objective's three descents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..adaptive import AdaptiveDEQ, AdaptiveLU, Model
from ..adaptive.objective import Problem
from ..adaptive.state import theta_of
from ..config import FixedPointConfig
from ..errors import InputError, describe
from ..nets.residual import Theta
from ..physics import ForwardModel
from ..solvers import iterate
from ..tasks import TaskBatch
from .metrics import mse, psnr
from .rows import PEAK, SUITE, Row, facts, peak_words, summary

PARTS = ("before", "after_z", "after_theta", "after_x")


class Trace(NamedTuple):
    """Of B pairs over K iterations: mse and psnr [K, B] of each iterate f(x), residuals [K, B], and for an adaptive
    model the objective [K, 4, B] before the z-step and after each of the three updates."""

    mse: np.ndarray
    psnr: np.ndarray
    residuals: np.ndarray
    objective: np.ndarray | None = None


def objective(problem: Problem, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
    """mse(y, y_hat(z)) + gamma mse(y_hat(z), A0 z) + lam mse(x, z) per sample [B] (paper eq. 7; Proposition 5.1's J
    without the learned regulariser r)."""

    def mean(difference: Tensor) -> Tensor:
        return difference.square().flatten(1).mean(1)

    y_hat, nominal = problem.residual(theta, z, problem.A0)
    config = problem.config
    return mean(problem.y - y_hat) + config.gamma * mean(y_hat - nominal) + config.lam * mean(x - z)


@torch.no_grad()
def trace(model: Model, batch: TaskBatch, A0: ForwardModel, iterations: int) -> Trace:
    """Run a model for exactly `iterations` iterations, whatever its settings say of stopping, and look at each.

    The loop is the plain one of the model, all pairs together. Raises InputError for a model that does not iterate.
    """
    if model.config.method == "direct" or iterations < 1:
        raise InputError(describe("iterations to trace", f"{iterations} of {model.config.method}",
                                  "1 or more of a model that iterates", "Trace another model"))  # fmt: skip
    images: list[Tensor] = []
    descents: list[Tensor] = []
    model.refresh()
    y = batch.y.to(model.eta)
    A0 = model.calibrate(y, A0.to(dtype=y.dtype))
    if model.config.method == "robust-lu":
        config = model.config
        hook = model.prox.register_forward_hook(lambda module, given, image: images.append(image))
        try:
            model.config = replace(config, iterations=iterations)
            residuals = model.solve(y, A0).residuals
        finally:
            hook.remove()
            model.config = config
    else:
        assert isinstance(model, AdaptiveLU | AdaptiveDEQ)
        step, state = model._start(y, A0)

        def watched(x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            image, after = step(x, state)
            theta, moved, z, z_after = theta_of(state), theta_of(after), state["z"], after["z"]
            points = ((theta, z, x), (theta, z_after, x), (moved, z_after, x), (moved, z_after, image))
            descents.append(torch.stack([objective(step.problem, *point) for point in points]))
            images.append(image)
            return image, after

        residuals = iterate(watched, y, state, _endless(model, iterations), "last", backend="eager").residuals
    peak = PEAK[model.config.task]
    return Trace(
        mse=np.stack([mse(batch.x, image) for image in images]),
        psnr=np.stack([psnr(batch.x, image, peak) for image in images]),
        residuals=residuals.cpu().double().numpy(),
        objective=torch.stack(descents).cpu().double().numpy() if descents else None,
    )


def _endless(model: Model, iterations: int) -> FixedPointConfig:
    """The model's own iteration without its stop."""
    return replace(model.outer()[0], tol=0.0, max_iter=iterations)


def stops(model: Model, residuals: np.ndarray) -> np.ndarray:
    """The iteration (from 1) at which each pair's own solve would have stopped [B], residuals [K, B]."""
    config, _ = model.outer()
    below = residuals < config.tol
    return np.where(below.any(0), below.argmax(0) + 1, len(residuals)).clip(max=min(config.max_iter, len(residuals)))


def stability(model: Model, found: Trace) -> Row:
    """How far the PSNR moves after the iteration at which each pair's own solve stops.

    Every figure is of the plain iterates f(x_k) against the iterate that the solve would have returned: that of least
    residual for an equilibrium model, the last one for an unrolled model.
    """
    count, pairs = found.psnr.shape
    stop = stops(model, found.residuals)
    if model.outer()[1] == "best":
        before = np.arange(count)[:, None] < stop
        returned = np.where(before, found.residuals, np.inf).argmin(0)
    else:
        returned = stop - 1
    level = found.psnr[returned, np.arange(pairs)]
    change = np.where(np.arange(count)[:, None] >= stop - 1, found.psnr - level, 0.0)
    return {
        "iterations": summary(stop),
        "psnr": summary(level),
        "change_at_end": summary(change[-1]),
        "largest_mean_change": float(np.abs(change.mean(1)).max()),
        "largest_change": summary(np.abs(change).max(0)),
    }


def curve(model: Model, chunks: Sequence[TaskBatch], about: Row, device: str = "cpu") -> Row:
    """The row of a model's iterations on pairs; `about` says which they are, what is told ("nominal" or "true"), and
    in `length` how many iterations."""
    traces = [trace(model, chunk, getattr(chunk, about["told"]), about["length"]) for chunk in chunks]
    whole = Trace(*(np.concatenate(parts, axis=-1) for parts in zip(*(t[:3] for t in traces), strict=True)))
    task = about["task"]
    data = [(mse(chunk.x, chunk.y), psnr(chunk.x, chunk.y, PEAK[task])) for chunk in chunks]
    start = [np.concatenate(parts) for parts in zip(*data, strict=True)]
    peak, span = peak_words(task)
    row = {"suite": SUITE, **about, "kind": "curve", "peak": peak, "span": span}
    row |= {
        "trained_iterations": model.outer()[0].max_iter,
        "mse": _digits([start[0].mean(), *whole.mse.mean(1)]),
        "psnr": _digits([start[1].mean(), *whole.psnr.mean(1)]),
        "psnr_sd": _digits([start[1].std(), *whole.psnr.std(1)]),
        "residual": _digits(np.median(whole.residuals, axis=1)),
        "stability": stability(model, whole),
    }
    if traces[0].objective is not None:
        values = np.concatenate([t.objective for t in traces], axis=-1)
        # A descent is one up to rounding of the sums.
        falls = values[:, 1:] <= values[:, :-1] * (1 + 1e-6)
        row["objective"] = {name: _digits(values[:, k].mean(1)) for k, name in enumerate(PARTS)}
        row["descends"] = {name.removeprefix("after_"): _digits(falls[:, k].mean(1))
                           for k, name in enumerate(PARTS[1:])}  # fmt: skip
    return row | facts(device)


def _digits(values: Sequence[float] | np.ndarray) -> list[float]:
    """Six significant digits."""
    return [float(f"{value:.6g}") for value in values]

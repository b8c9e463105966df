"""The gates of the solve suite: one iteration after the other in double, and a whole solve's score.

The z- and theta-steps are soft signs of their gradients, which amplify rounding where a gradient is small. So the
first gate replaces their settings by ones for which the same formulas are gradient steps: eps far above every
gradient, lr in proportion. Every quantity then moves smoothly, and its error is that of the gradient behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aafast.adaptive.objective import Problem
from aafast.bench import backends
from aafast.bench.cases import Case, Data
from aafast.bench.verify import Verdict
from aafast.config import InnerSolver
from aafast.reference import RobustLU
from aafast.reference.golden import vector_error
from aafast.reference.physics import blur
from aafast.solvers import Solution

STEP_TOLERANCE, SCORE_TOLERANCE = 1e-5, 0.02
# Products of 11 bits err by about 1e-3 a stack (shared sums are exact enough); an iteration is three stacks deep, and a
# gradient sees most of it. TF32's inputs have 11 bits as well. In 32 bits the order of sums is what differs.
DEVICE_TOLERANCE = {"fast": (5e-3, 0.05), "tf32": (5e-3, 0.05), "strict": (1e-4, 0.02)}
STEPS = 2
_SMOOTH = 1e4  # eps over the largest gradient
_Z_MOVE, _THETA_MOVE = 0.1, 0.01  # size of a step over that of what it moves


@dataclass(frozen=True)
class Gate:
    """One check of a row: ok where value is at most tolerance, which NaN never is."""

    metric: str
    value: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.value <= self.tolerance

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.value, self.tolerance)

    def row(self) -> dict[str, Any]:
        """For JSON, which knows no NaN and no infinity."""
        value = self.value if math.isfinite(self.value) else str(self.value)
        return {"metric": self.metric, "value": value, "tolerance": self.tolerance, "ok": self.ok}


def worst(gates: list[Gate]) -> Gate:
    """The gate that is furthest over, or nearest to, its tolerance; a value that is no number comes first."""
    return max(gates, key=lambda gate: math.inf if math.isnan(gate.value) else gate.value / gate.tolerance)


def tolerances(case: Case, engine: bool) -> tuple[float, float]:
    """Of one iteration and of a score: on a device the engine's products may have fewer bits than float32."""
    if engine and case.device != "cpu":
        return DEVICE_TOLERANCE[case.precision]
    return (STEP_TOLERANCE if case.device == "cpu" else DEVICE_TOLERANCE["strict"][0]), SCORE_TOLERANCE


class StepGate:
    """Two iterations on the case's data in float64 by the plain loop; solvers are held to them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.settings = _smooth_settings(case) if case.method != "robust-lu" else {}
        self.A0 = case.A0(case.data)
        double = case.A0(case.data, torch.float64)
        y = case.data.y.double()
        self.truth = [
            _quantities(backends.eager(self._model(k, torch.float64), y, double), y) for k in range(1, STEPS + 1)
        ]

    def _model(self, iterations: int, dtype: torch.dtype = torch.float32) -> Any:
        return self.case.product(iterations, dtype, **self.settings)

    def check(self, solve: backends.Solver, expected_backend: str | None = None) -> Gate:
        """The worst relative error (2-norm) of x, the z-gradient and the theta-gradients, each one vector.

        `expected_backend` is the one that will be timed: where another one runs here, nothing was checked.
        """
        metric, errors = "one iteration: x, z- and theta-gradient", []
        tolerance, _ = tolerances(self.case, expected_backend is not None)
        for k, truth in enumerate(self.truth, start=1):
            solution = solve(self._model(k), self.case.data.y, self.A0)
            if expected_backend is not None and solution.backend != expected_backend:
                return Gate(f"{metric} (ran on {solution.backend})", math.nan, tolerance)
            found = _quantities(solution, self.case.data.y)
            errors += [vector_error([(found[name].cpu(), value.cpu())]) for name, value in truth.items()]
        nan = [error for error in errors if math.isnan(error)]
        return Gate(metric, nan[0] if nan else max(errors), tolerance)


def _quantities(solution: Solution, y: Tensor) -> dict[str, Tensor]:
    """x, how far z went (its gradients, added up) and the first moments (those of theta), each one vector."""
    found = {"x": solution.x}
    if "z" in solution.aux:
        found["z-gradient"] = solution.aux["z"].double() - y.double()
        moments = [solution.aux[name].flatten() for name in sorted(solution.aux) if name.startswith("moment1.")]
        found["theta-gradient"] = torch.cat(moments)
    return found


def _smooth_settings(case: Case) -> dict[str, InnerSolver]:
    """Inner solvers whose AdamW formulas are gradient steps of a set relative size on this case's data."""
    y, model = case.data.y, case.product()
    problem = Problem(y, case.A0(case.data), model.residual, model.config, "eager")
    theta = model.residual.start(1)
    point = y.clone().requires_grad_()
    leaves = {name: value.requires_grad_() for name, value in theta.items()}
    g, *gradients = torch.autograd.grad(problem.misfit(leaves, point), [point, *leaves.values()])
    flat, values = (torch.cat([t.detach().flatten() for t in group]) for group in (gradients, leaves.values()))
    return {
        "z_solver": _gradient_steps(g, y, _Z_MOVE),
        "theta_solver": _gradient_steps(flat, values, _THETA_MOVE),
    }


def _gradient_steps(gradient: Tensor, value: Tensor, move: float) -> InnerSolver:
    eps = _SMOOTH * float(gradient.abs().max())
    lr = eps * move * float(value.norm() / gradient.norm())
    return InnerSolver("adamw", lr=lr, eps=eps, weight_decay=0.01 / lr)


def score_gate(case: Case, solve: backends.Solver, batch: int) -> Gate:
    """The difference in PSNR (dB) to the reference after a whole solve of the first samples of the data."""
    data = case.part(batch)
    reference = case.reference()
    A0 = case.A0(data)
    if isinstance(reference, RobustLU) and case.task == "deblur":
        reference.gradient = _bracketed  # the authors' bracket is misplaced, the product's is not: scored alike
    mine = solve(case.product(case.whole), data.y, A0).x
    theirs = backends.run_reference(reference, data, case.whole)
    difference = abs(psnr(mine, data) - psnr(theirs, data))
    return Gate("whole solve: PSNR difference, dB", difference, tolerances(case, True)[1])


def psnr(x: Tensor, data: Data) -> float:
    """20 log10(max|truth|) - 10 log10(mse), over the batch."""
    truth = data.x.double()
    return float(20 * truth.abs().max().log10() - 10 * (x.double() - truth).square().mean().log10())


def _bracketed(x: Tensor, y: Tensor, A0: Tensor, step: Tensor) -> Tensor:
    """`x - step A (A x - y)`."""
    return x - step * blur(blur(x, A0) - y, A0)

"""Who takes part in the solve suite: the reference, two plain baselines on the product's model, and its engine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aafast.adaptive import Model
from aafast.adaptive.objective import Problem
from aafast.adaptive.state import Aux, initial, moments_of, theta_of, updated
from aafast.adaptive.step import AdaptiveStep
from aafast.bench.cases import Case, Data
from aafast.config import FixedPointConfig
from aafast.nets.residual import Theta
from aafast.physics import ForwardModel
from aafast.reference import AdaptiveDEQ, RobustLU, picard
from aafast.solvers import Solution, iterate
from aafast.verify.weights import Reference

REFERENCE, EAGER, COMPILE, ENGINE = "reference", "eager-nhwc", "compile", "auto"
BASELINES = (REFERENCE, EAGER, COMPILE)
_BETA1, _BETA2 = 0.9, 0.999
Solver = Callable[[Model, Tensor, ForwardModel], Solution]


def run_reference(model: Reference, data: Data, iterations: int) -> Tensor:
    """x after a number of calls of the authors' iteration, run as they run it at evaluation."""
    with torch.no_grad():
        if isinstance(model, AdaptiveDEQ):
            calls = iterations - 1 if model.solver is picard else iterations  # picard counts from the second call
            return model.run(data.y, data.A0, calls, tol=0.0).x
        iterates = model.run(data.y, data.A0, iterations)
        return iterates[-1] if isinstance(model, RobustLU) else iterates.xs[-1]


def engine(model: Model, y: Tensor, A0: ForwardModel) -> Solution:
    """The product as it is called, its backend chosen by itself."""
    model.backend = "auto"
    with torch.no_grad():
        return model(y, A0)


def eager(model: Model, y: Tensor, A0: ForwardModel) -> Solution:
    """The product's loop in plain torch on the whole batch, which is its fastest plain form."""
    model.backend = "eager"
    with torch.no_grad():
        return model.solve(y, A0)


class Compiled:
    """The product's loop with its networks, gradients and AdamW compiled, each without a graph break.

    The two gradients, AdamW and the prox are compiled apart: one graph of the whole iteration, by torch.func, was
    slower on a CPU for the colour tasks and no faster for the seismic one. On a CUDA device all but AdamW run as CUDA
    graphs; AdamW's results live on from step to step, and copying the authors' 10 million weights out of a graph's
    memory would take longer than to launch it.
    """

    def __init__(self, device: str = "cpu") -> None:
        torch._dynamo.reset()  # each case has its own graphs; those of the last would count against the limit
        self.graphs = device != "cpu"
        mode = "reduce-overhead" if self.graphs else "default"
        self.robust, self.prox, self.objective, self.misfit = (
            torch.compile(part, fullgraph=True, dynamic=False, mode=mode)
            for part in (_robust, AdaptiveStep.prox_step, Problem.objective, Problem.misfit)
        )
        self.adamw = torch.compile(_adamw, fullgraph=True, dynamic=False)

    def _kept(self, x: Tensor) -> Tensor:
        """A result that outlives the next run of the graph which made it."""
        return x.clone() if self.graphs else x

    def _robust(self, model: Model, x: Tensor, y: Tensor, A0: ForwardModel) -> Tensor:
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return self._kept(self.robust(model, x, y, A0))

    def __call__(self, model: Model, y: Tensor, A0: ForwardModel) -> Solution:
        model.backend = "eager"  # the compiler shall see plain torch, not the product's own kernels
        config = model.config
        unrolled = FixedPointConfig("picard", tol=0.0, max_iter=config.iterations)
        start = y.clone()  # one graph for the first iteration, where x is y, and for those after it
        with torch.no_grad():
            if config.method == "robust-lu":
                return iterate(lambda x, aux: (self._robust(model, x, y, A0), aux), start, {}, unrolled, keep="last")
            problem = Problem(y, A0, model.residual, config, "eager")
            step = AdaptiveStep(problem, model.prox, model.eta)
            state = initial(y, model.residual.start(1))
            if config.method == "adaptive-lu":
                return iterate(lambda x, aux: self.step(step, x, aux), start, state, unrolled, keep="last")
            return iterate(lambda x, aux: self.step(step, x, aux), start, state, config.fixed_point)

    def step(self, step: AdaptiveStep, x: Tensor, state: Aux) -> tuple[Tensor, Aux]:
        """One iteration: z, theta, x."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        problem = step.problem
        inner, theta = problem.config.z_solver, theta_of(state)
        with torch.enable_grad():
            point = state["z"].detach().requires_grad_()
            (g,) = torch.autograd.grad(self.objective(problem, theta, point, x), point)
        z = state["z"] * (1 - inner.lr * inner.weight_decay) - inner.lr * g / (g.abs() + inner.eps)
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in theta.items()}
            gradients = torch.autograd.grad(self.misfit(problem, leaves, z), list(leaves.values()))
        inner = problem.config.theta_solver
        count = (state["count"].amax() + 1).to(torch.float64)
        size = (inner.lr / (1 - _BETA1**count)).to(z.dtype)
        unbias = (1 - _BETA2**count).sqrt().to(z.dtype)
        decay, eps = (z.new_tensor(value) for value in (1 - inner.lr * inner.weight_decay, inner.eps))
        found = dict(zip(theta, gradients, strict=True))
        theta, first, second = self.adamw(theta, *moments_of(state), found, size, unbias, decay, eps)
        return self._kept(self.prox(step, x, z)), updated(state, z, theta, first, second)


def _robust(model: Model, x: Tensor, y: Tensor, A0: ForwardModel) -> Tensor:
    return model.prox(x - torch.exp(model.eta) * A0.A_adjoint(A0.A(x) - y))


def _adamw(
    theta: Theta, first: Theta, second: Theta, g: Theta, size: Tensor, unbias: Tensor, decay: Tensor, eps: Tensor
) -> tuple[Theta, Theta, Theta]:
    first = {name: torch.lerp(first[name], g[name], 1 - _BETA1) for name in g}
    second = {name: second[name] * _BETA2 + (1 - _BETA2) * g[name] * g[name] for name in g}
    moved = {name: theta[name] * decay - size * first[name] / (second[name].sqrt() / unbias + eps) for name in g}
    return moved, first, second


def solver(name: str, device: str = "cpu") -> Solver:
    """What solves under a name other than the reference's."""
    return Compiled(device) if name == COMPILE else {EAGER: eager, ENGINE: engine}[name]


def prepared(case: Case, name: str, solve: Solver | None = None) -> Callable[[], Tensor | Solution]:
    """A solve of the case's data by one of the four, everything but the solve done beforehand."""
    data = case.data
    if name == REFERENCE:
        reference = case.reference()
        return lambda: run_reference(reference, data, case.iterations)
    chosen = solver(name, case.device) if solve is None else solve
    model, A0 = case.product(), case.A0(data)
    return lambda: chosen(model, data.y, A0)

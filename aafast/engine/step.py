"""One iteration of each model on the native stacks, for any subset of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..adaptive.models import Model
from ..adaptive.state import Aux, initial, theta_of, updated
from ..adaptive.theta_solvers import THETA_STARTS, start_theta, update_theta
from ..adaptive.z_solvers import update_z
from ..physics import ForwardModel, GaussianBlur, Haze, WaveletConvolution
from .optimiser import adamw
from .plan import Plan
from .problem import FusedProblem

# Their operations treat a sample the same whatever stands beside it; what others do is not known.
_BATCHED = (WaveletConvolution, GaussianBlur, Haze)


class PlainWork:
    """The direct inverse and robust LU: x alone is the state."""

    def __init__(self, model: Model, plan: Plan, y: Tensor, A0: ForwardModel) -> None:
        self.model, self.plan, self.y, self.A0 = model, plan, y, A0
        self.pointwise = plan.place.pointwise()
        self.known = isinstance(A0, _BATCHED) or plan.place.backend != "cpp"  # a device takes them as its libraries do
        self._part: tuple[Tensor, Tensor, ForwardModel] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def start(self, index: Tensor) -> tuple[Tensor, Aux]:
        """x0 = y of these samples; no further state."""
        return self.y[index], {}

    def part(self, index: Tensor) -> tuple[Tensor, ForwardModel]:
        """y and A0 of these samples, kept while the same ones are asked for."""
        if self._part is None or (self._part[0] is not index and not torch.equal(self._part[0], index)):
            whole = len(index) == len(self.y) and bool((index == torch.arange(len(index))).all())
            y, A0 = (self.y, self.A0) if whole else (self.y[index].contiguous(), self.A0.take(index))
            self._part = (index, y, A0)
        return self._part[1:]

    def step(self, index: Tensor, x: Tensor, aux: Aux) -> tuple[Tensor, Aux]:
        """R(x), or R(x - exp(eta) A0^T (A0 x - y))."""
        if self.model.method == "direct":
            return self.plan.apply_prox((x.contiguous(),)), aux
        if self.known:
            y, A0 = self.part(index)
            gradient = A0.A_adjoint(A0.A(x) - y)
        else:
            gradient = torch.cat([self._own_gradient(i, x[row : row + 1]) for row, i in enumerate(index.tolist())])
        return self.plan.apply_prox((torch.add(x, gradient, alpha=-self.plan.step),)), aux

    def _own_gradient(self, sample: int, x: Tensor) -> Tensor:
        A0 = self.A0.select(sample)
        return A0.A_adjoint(A0.A(x) - self.y[sample : sample + 1])


class AdaptiveWork(PlainWork):
    """The adaptive models: z, theta and its moments beside x."""

    def __init__(self, model: Model, plan: Plan, y: Tensor, A0: ForwardModel) -> None:
        super().__init__(model, plan, y, A0)
        config = model.config
        self.shared = config.theta_scope == "batch"
        native = config.z_solver.name == "adamw" and config.theta_solver.name in ("none", "adamw", "gradient")
        # Linear algebra of a library may choose its way by the size of the batch: then each sample has its own turn.
        self.apart = not (native and self.known) and not self.shared
        self._problems: dict[int, FusedProblem] = {}
        self._joint: tuple[Tensor, FusedProblem] | None = None

    def start(self, index: Tensor) -> tuple[Tensor, Aux]:
        x0 = self.y[index]
        if self.model.config.theta_solver.name not in THETA_STARTS:
            return x0, initial(x0, self.model.residual.start(1 if self.shared else len(index)))
        if self.shared:
            return x0, initial(x0, start_theta(self._together(index.cpu()), 1))
        own = [start_theta(self._alone(sample), 1) for sample in index.tolist()]
        return x0, initial(x0, {name: torch.cat([theta[name] for theta in own]) for name in own[0]})

    def _problem(self, y: Tensor, A0: ForwardModel) -> FusedProblem:
        mismatch = self.plan.mismatch(self.model.residual)
        return FusedProblem(y, A0, mismatch, self.model.config, self.model.backend)

    def _together(self, index: Tensor) -> FusedProblem:
        y, A0 = self.part(index)
        if self._joint is None or self._joint[0] is not y:
            self._joint = (y, self._problem(y, A0))
        return self._joint[1]

    def _alone(self, sample: int) -> FusedProblem:
        if sample not in self._problems:
            y = self.y[sample : sample + 1].clone()
            self._problems[sample] = self._problem(y, self.A0.select(sample))
        return self._problems[sample]

    def step(self, index: Tensor, x: Tensor, aux: Aux) -> tuple[Tensor, Aux]:
        """z, then theta, then x."""
        if self.apart:
            parts = []
            for row, sample in enumerate(index.tolist()):
                own = {name: value[row : row + 1] for name, value in aux.items()}
                parts.append(self._adapt(self._alone(sample), x[row : row + 1], own))
            fresh = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            y = self.part(index)[0] if len(index) < len(self.y) else self.y
        else:
            problem = self._together(index)
            fresh, y = self._adapt(problem, x, aux), problem.y
        return self._prox_step(x, fresh["z"], y), fresh

    def _adapt(self, problem: FusedProblem, x: Tensor, aux: Aux) -> Aux:
        z = update_z(problem, theta_of(aux), aux["z"], x)
        native = self.plan.place.backend in ("cpp", "cuda")
        if native and problem.config.theta_solver.name == "adamw" and theta_of(aux):
            theta = adamw(problem, aux, z)
        else:
            theta = update_theta(problem, aux, z)
        return updated(aux, z, *theta)

    def _prox_step(self, x: Tensor, z: Tensor, y: Tensor) -> Tensor:
        """As aafast.adaptive.step.AdaptiveStep.prox_step."""
        config = self.model.config
        start = None if config.offset == "none" else y
        point = self.pointwise.prox_point(self.plan.step, x.contiguous(), z.contiguous(), start)
        out = self.plan.apply_prox((point, y) if config.feed_y else (point,))
        return out.add_(y) if config.offset == "residual" else out

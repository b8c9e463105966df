"""The CPU engine: whole solves on the native stacks, without a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from ..adaptive import engines
from ..adaptive.models import Model
from ..physics import ForwardModel, GivenForwardModel
from ..solvers import Solution, iterate
from .batching import stream
from .memory import capacity
from .plan import plan_of, reason_against
from .step import AdaptiveWork, PlainWork


class CpuEngine:
    """Solves a checked batch on CPU tensors with the model's own rules; see aafast.adaptive.engines.Engine."""

    name = "cpp"

    def refusal(self, model: Model, y: Tensor, A0: ForwardModel) -> str | None:
        if y.device.type != "cpu":
            return f"it runs on CPU tensors, these are on {y.device}"
        if isinstance(A0, GivenForwardModel) and not A0.linear and hasattr(model, "residual"):
            return "A0 is not linear, and the gradient through it needs autograd"
        return reason_against(model, y.dtype, self.name)

    @torch.no_grad()
    def solve(self, model: Model, y: Tensor, A0: ForwardModel) -> Solution:
        plan, (config, keep) = plan_of(model, self.name), model.outer()
        work = (AdaptiveWork if hasattr(model, "residual") else PlainWork)(model, plan, y, A0)
        backend = model.backend
        if model.config.theta_scope == "batch" and isinstance(work, AdaptiveWork):
            # The samples share theta: they go through every iteration together.
            index = torch.arange(len(y))
            x0, aux = work.start(index)
            solution = iterate(lambda x, state: work.step(index, x, state), x0, aux, config, keep, backend=backend)
        else:
            one = work.start(torch.zeros(1, dtype=torch.int64))[1]
            solution = stream(work, config, capacity(model, plan, y, one), keep, backend)
        return model.finish(solution, A0)


engines.register(CpuEngine())

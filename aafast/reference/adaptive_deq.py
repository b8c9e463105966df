"""A-adaptive DEQ: the same iteration as a block whose fixed point in x is sought (eq. 7, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from aafast.reference.anderson import anderson, picard
from aafast.reference.iteration import Adaptation
from aafast.reference.networks import ProximalNetwork


@dataclass
class Solve:
    """The solver's answer, the residual of each iteration, and, where asked for, every call of the block."""

    x: Tensor
    residuals: list[float]
    calls: int = 0
    x_in: list[Tensor] = field(default_factory=list)
    x_out: list[Tensor] = field(default_factory=list)
    zs: list[Tensor] = field(default_factory=list)


class AdaptiveDEQ:
    """`x -> R([x' - exp(eta) (x' - z), y])` with `x' = x - y`, plus y for deblurring only.

    z and theta live outside the map: they take one step per call and are never mixed nor rewound, so the map
    is another one at each call. The z-step pulls z towards x, not x'.
    """

    def __init__(
        self, task: str, mismatch: nn.Module, prox: ProximalNetwork, gamma: float, lam: float
    ) -> None:
        self.mismatch, self.prox = mismatch, prox
        self.adaptation = Adaptation(mismatch, gamma, lam)
        self.adds_start_back = task == "deblur"
        self.solver = picard if task == "defog" else anderson

    def run(
        self, y: Tensor, A0: Tensor, max_iter: int | None = None, tol: float = 1e-3, record: bool = False
    ) -> Solve:
        """Solve for y [B, C, H, W] from x = z = y; `tol=0` forces the full number of calls.

        Args:
            y: measurement, [B, C, H, W].
            A0: the task's nominal model.
            max_iter: calls of the block under Anderson (authors: 40); calls after the first under the plain
                iteration (authors: 30).
            tol: stop below this relative residual of the whole batch.
            record: keep the argument, the value and z of every call.

        Returns:
            The solution; no graph is kept. theta goes on from the last run.
        """
        solve = Solve(x=y, residuals=[])
        z = y

        def block(x: Tensor) -> Tensor:
            nonlocal z
            z, _ = self.adaptation.z_step(x, z, y, A0)
            self.adaptation.theta_step(z, y, A0)
            image = self.prox(x - y, z, y)
            image = image + y if self.adds_start_back else image
            solve.calls += 1
            if record:  # x is a view of the solver's ring, which moves on
                solve.x_in.append(x.clone())
                solve.x_out.append(image)
                solve.zs.append(z)
            return image

        self.prox.train()  # at evaluation too: every call runs its power iterations
        solver = self.solver if max_iter is None else partial(self.solver, max_iter=max_iter)
        with torch.no_grad():
            solve.x, solve.residuals = solver(block, y, tol=tol)
        return solve

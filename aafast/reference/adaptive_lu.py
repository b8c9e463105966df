"""A-adaptive LU: K rounds of the z-step, the theta-step and the proximal network (eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from aafast.reference.iteration import Adaptation
from aafast.reference.networks import ProximalNetwork


@dataclass
class Trace:
    """What a run went through: one entry per iteration."""

    zs: list[Tensor] = field(default_factory=list)
    xs: list[Tensor] = field(default_factory=list)
    loss_z: list[Tensor] = field(default_factory=list)
    loss_theta: list[Tensor] = field(default_factory=list)


class AdaptiveLU:
    """x and z start at y; x is what the proximal network returns, z and theta move by one AdamW step each.

    Under grad mode the iterates keep their graph through the proximal network (as in training), and only
    through it: z and theta are cut off.
    """

    def __init__(self, mismatch: nn.Module, prox: ProximalNetwork, gamma: float, lam: float) -> None:
        self.mismatch, self.prox = mismatch, prox
        self.adaptation = Adaptation(mismatch, gamma, lam)

    def run(self, y: Tensor, A0: Tensor, iterations: int = 5) -> Trace:
        """Run K iterations on y [B, C, H, W] with the task's A0; theta goes on from the last run."""
        trace = Trace()
        x = z = y
        for _ in range(iterations):
            z, loss_z = self.adaptation.z_step(x, z, y, A0)
            loss_theta = self.adaptation.theta_step(z, y, A0)
            x = self.prox(x, z, y)
            trace.zs.append(z)
            trace.xs.append(x)
            trace.loss_z.append(loss_z)
            trace.loss_theta.append(loss_theta)
        return trace

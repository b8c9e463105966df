"""The objective that z and theta descend, with gradients by the native stacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..adaptive.objective import Problem
from ..nets.residual import Theta
from .features import Outer
from .mismatch import FusedMismatch


@dataclass(frozen=True)
class FusedProblem(Problem):
    """A Problem whose mismatch network is a FusedMismatch."""

    residual: FusedMismatch  # type: ignore[assignment]  # called as a MismatchNetwork is

    def _scale(self) -> float:
        """The derivative of a mean of squares: 2 over the values of a sample, or of the batch for its scope."""
        values = self.y.numel() if self.config.theta_scope == "batch" else self.y[0].numel()
        return 2.0 / values

    def gradient_z(self, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
        scale = self._scale()
        seeds = self.residual.gradients(theta, z, self.y, self.A0, scale, self.config.gamma, "z")
        return seeds.z.add_(z - x, alpha=scale * self.config.lam)

    def theta_gradient(self, theta: Theta, z: Tensor) -> dict[str, Any]:
        """The gradient of the misfit in theta; that of a linear layer's weight is left as an Outer product."""
        seeds = self.residual.gradients(theta, z, self.y, self.A0, self._scale(), self.config.gamma, "theta")
        return seeds.theta

    def gradient_theta(self, theta: Theta, z: Tensor) -> Theta:
        found = self.theta_gradient(theta, z)
        dense = {name: g.dense() if isinstance(g, Outer) else g for name, g in found.items()}
        return {name: g if len(g) == len(theta[name]) else g.sum(0, keepdim=True) for name, g in dense.items()}

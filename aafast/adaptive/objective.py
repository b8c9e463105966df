"""The objective that z and theta descend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import ModelConfig
from ..nets.residual import MismatchNetwork, Theta
from ..ops import _tracing
from ..physics import ForwardModel


@dataclass(frozen=True)
class Problem:
    """What stays fixed in a solve: measurement, nominal model, mismatch network, settings, backend."""

    y: Tensor
    A0: ForwardModel
    residual: MismatchNetwork
    config: ModelConfig
    backend: str = "auto"

    def _mean(self, squares: Tensor) -> Tensor:
        """Sum over samples of each sample's mean, or the mean over the batch (theta scope "batch")."""
        return squares.mean() if self.config.theta_scope == "batch" else squares.mean() * len(squares)

    def misfit(self, theta: Theta, z: Tensor) -> Tensor:
        """mse(y, y_hat(z)) + gamma mse(y_hat(z), A0 z): what theta descends (paper eq. 7, second line)."""
        y_hat, nominal = self.residual(theta, z, self.A0)
        loss = self._mean((self.y - y_hat).square())
        if self.config.gamma:
            loss = loss + self.config.gamma * self._mean((y_hat - nominal).square())
        return loss

    def objective(self, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
        """misfit + lam mse(x, z): what z descends (paper eq. 7, first line)."""
        return self.misfit(theta, z) + self.config.lam * self._mean((x - z).square())

    def gradient_z(self, theta: Theta, z: Tensor, x: Tensor) -> Tensor:
        """The gradient of `objective` in z."""
        return self._gradients(lambda points: self.objective(theta, points[0], x.detach()), [z])[0]

    def gradient_theta(self, theta: Theta, z: Tensor) -> Theta:
        """The gradient of `misfit` in every tensor of theta."""
        names = list(theta)
        found = self._gradients(
            lambda points: self.misfit(dict(zip(names, points, strict=True)), z.detach()), list(theta.values())
        )
        return dict(zip(names, found, strict=True))

    def _gradients(self, loss: Callable[[list[Tensor]], Tensor], points: list[Tensor]) -> tuple[Tensor, ...]:
        if torch.compiler.is_compiling():
            _tracing.admit()
        with torch.enable_grad():
            leaves = [_tracing.leaf(point) for point in points]
            return _tracing.gradients(loss(leaves), leaves)

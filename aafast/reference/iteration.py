"""The z-step and the theta-step of eq. 7 as the authors run them: losses, backward passes, AdamW objects."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 1e-4  # of z, of theta and of the training


class Adaptation:
    """The mismatch network with its persistent AdamW, and the two steps that move z and theta.

    theta and its moments are shared by the batch and outlive it: the next call goes on where this one ended.
    """

    def __init__(self, mismatch: Any, gamma: float, lam: float) -> None:
        self.mismatch, self.gamma, self.lam = mismatch, gamma, lam
        self.theta_optimizer = torch.optim.AdamW(mismatch.parameters(), lr=STEP)

    def _misfit(self, z: Tensor, y: Tensor, A0: Tensor) -> Tensor:
        y_hat = self.mismatch(z, A0)
        return F.mse_loss(y_hat, y) + self.gamma * F.mse_loss(y_hat, self.mismatch.forward_model(z, A0))

    @torch.enable_grad()
    def z_step(self, x: Tensor, z: Tensor, y: Tensor, A0: Tensor) -> tuple[Tensor, Tensor]:
        """One step of a fresh AdamW on z, the network in eval mode; returns the new z and the loss before.

        The backward pass fills the gradients of theta as well; the theta-step throws them away.
        """
        z = z.detach().clone().requires_grad_()
        optimizer = torch.optim.AdamW([z], lr=STEP)
        loss = self._backward_to_z(x, z, y, A0)
        optimizer.step()
        return z.detach(), loss.detach()

    @torch.enable_grad()
    def z_gradient(self, x: Tensor, z: Tensor, y: Tensor, A0: Tensor) -> Tensor:
        """The gradient that the z-step follows."""
        z = z.detach().clone().requires_grad_()
        self._backward_to_z(x, z, y, A0)
        assert z.grad is not None
        return z.grad

    def _backward_to_z(self, x: Tensor, z: Tensor, y: Tensor, A0: Tensor) -> Tensor:
        self.mismatch.eval()
        loss = self._misfit(z, y, A0) + self.lam * F.mse_loss(z, x.detach())
        loss.backward()
        return loss

    @torch.enable_grad()
    def theta_step(self, z: Tensor, y: Tensor, A0: Tensor) -> Tensor:
        """One step of the persistent AdamW on theta, the network in train mode; returns the loss before."""
        self.mismatch.train()
        self.theta_optimizer.zero_grad()
        loss = self._misfit(z, y, A0)
        loss.backward()
        self.theta_optimizer.step()
        return loss.detach()

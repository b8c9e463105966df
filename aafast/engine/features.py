"""The MLP of the authors' seismic network with its big weights kept out of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nets.residual import Theta


@dataclass
class Outer:
    """The gradient left^T right of a weight [1, outputs, inputs], not formed: left [B, outputs], right [B, inputs]."""

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        """The gradient itself."""
        return (self.left.mT @ self.right)[None]


class Features:
    """The second channel [B, 1, T, X] from the wavelets [B, K] at one theta, and the gradients behind it.

    Linear, BatchNorm, GELU, Linear, BatchNorm. Only what is [B, features] is recorded for differentiation: a weight's
    gradient is the outer product of the two sides of its layer.
    """

    def __init__(self, theta: Theta, wavelets: Tensor, shape: tuple[int, int]) -> None:
        self.theta, self.wavelets = theta, wavelets
        self.used = tuple(theta.values())
        with torch.enable_grad():
            self.first = F.linear(wavelets, theta["linear1_weight"][0], theta["linear1_bias"][0]).requires_grad_()
            self.norm1 = [theta[f"batch1_{part}"][0].detach().requires_grad_() for part in ("weight", "bias")]
            self.hidden = F.gelu(F.batch_norm(self.first, None, None, self.norm1[0], self.norm1[1], training=True))
            # The weight from the left: a third less time than F.linear takes for so few columns.
            second = theta["linear2_weight"][0] @ self.hidden.detach().mT + theta["linear2_bias"][0][:, None]
            self.second = second.mT.contiguous().requires_grad_()
            self.norm2 = [theta[f"batch2_{part}"][0].detach().requires_grad_() for part in ("weight", "bias")]
            self.out = F.batch_norm(self.second, None, None, self.norm2[0], self.norm2[1], training=True)
        self.image = self.out.detach().reshape(-1, 1, *shape)

    def of(self, theta: Theta) -> bool:
        """Whether these are the features at this theta (as long as nobody wrote into it)."""
        return len(theta) == len(self.used) and all(a is b for a, b in zip(theta.values(), self.used, strict=True))

    def gradients(self, d_image: Tensor) -> dict[str, Any]:
        """Gradients of the MLP's part of theta from that of the image [B, T, X]."""
        # A graph is kept for the next step at the same theta.
        d_out = d_image.reshape(self.out.shape)
        d_second, *d_norm2 = torch.autograd.grad(self.out, [self.second, *self.norm2], d_out, retain_graph=True)
        d_hidden = d_second @ self.theta["linear2_weight"][0]
        d_first, *d_norm1 = torch.autograd.grad(self.hidden, [self.first, *self.norm1], d_hidden, retain_graph=True)
        found: dict[str, Any] = {
            "linear1_weight": Outer(d_first, self.wavelets.contiguous()),
            "linear1_bias": d_first.sum(0, keepdim=True),
            "linear2_weight": Outer(d_second, self.hidden.detach().contiguous()),
            "linear2_bias": d_second.sum(0, keepdim=True),
        }
        for layer, parts in (("1", d_norm1), ("2", d_norm2)):
            found[f"batch{layer}_weight"], found[f"batch{layer}_bias"] = (part[None] for part in parts)
        return found

"""How gradients reach the weights through a fixed point; each mode leaves the value untouched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config import FixedPointConfig
from .iterate import iterate

Map = Callable[[Tensor], Tensor]


def _attach(value: Tensor, carrier: Tensor) -> Tensor:
    """`value` with the gradient of `carrier`: training and evaluation return the same numbers."""
    return value.detach() + (carrier - carrier.detach())


def one_step(phi: Map, point: Tensor, value: Tensor) -> Tensor:
    """Jacobian-free gradient: one differentiable evaluation at the fixed point (Fung et al. 2021)."""
    return _attach(value, phi(point.detach()))


def phantom(phi: Map, point: Tensor, value: Tensor, steps: int, damping: float = 0.5) -> Tensor:
    """Phantom gradient: `steps` damped evaluations x <- (1 - d) x + d phi(x) from the fixed point."""
    x = point.detach()
    for _ in range(steps):
        x = (1 - damping) * x + damping * phi(x)
    return _attach(value, x)


def implicit(phi: Map, point: Tensor, value: Tensor, config: FixedPointConfig, backend: str = "auto") -> Tensor:
    """Implicit gradient: g = v + J^T g solved by the fixed-point solver, J the Jacobian of phi at the point."""
    anchor = point.detach().requires_grad_()
    image = phi(anchor)
    carrier = phi(point.detach())

    def solve(v: Tensor) -> Tensor:
        def adjoint_map(g: Tensor, aux: dict) -> tuple[Tensor, dict]:
            return torch.autograd.grad(image, anchor, g, retain_graph=True)[0] + v, aux

        with torch.no_grad():
            zero = torch.zeros_like(v)
            return iterate(lambda g, aux: torch.enable_grad()(adjoint_map)(g, aux), zero, {}, config, backend=backend).x

    carrier.register_hook(solve)
    return _attach(value, carrier)

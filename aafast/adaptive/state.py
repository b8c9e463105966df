"""The explicit state of an adaptive solve: z, theta and the moments of theta's optimiser."""

from __future__ import annotations

import torch
from torch import Tensor

from ..nets.residual import Theta

Aux = dict[str, Tensor]
_THETA, _FIRST, _SECOND = "theta.", "moment1.", "moment2."


def initial(z0: Tensor, theta: Theta) -> Aux:
    """The state before the first iteration: z0 [B, C, H, W], theta [S, ...], zero moments, zero count [B]."""
    state = {"z": z0, "count": torch.zeros(len(z0), dtype=torch.int64, device=z0.device)}
    state.update({_THETA + name: value for name, value in theta.items()})
    for prefix in (_FIRST, _SECOND):  # in the order of `updated`: a compiled step is compiled for one order of names
        state.update({prefix + name: torch.zeros_like(value) for name, value in theta.items()})
    return state


def part(state: Aux, prefix: str) -> Theta:
    """The tensors below one prefix, named as the mismatch network names them."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def theta_of(state: Aux) -> Theta:
    """theta, every tensor [S, ...]."""
    return part(state, _THETA)


def moments_of(state: Aux) -> tuple[Theta, Theta]:
    """AdamW's first and second moments."""
    return part(state, _FIRST), part(state, _SECOND)


def updated(state: Aux, z: Tensor, theta: Theta, first: Theta, second: Theta) -> Aux:
    """The state after one iteration."""
    fresh = {"z": z, "count": state["count"] + 1}
    for prefix, values in ((_THETA, theta), (_FIRST, first), (_SECOND, second)):
        fresh.update({prefix + name: value for name, value in values.items()})
    return fresh

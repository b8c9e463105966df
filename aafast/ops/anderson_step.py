"""One whole proposal of Anderson acceleration on a CPU: entered, mixed, damped and forgotten in one call."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import _dispatch, _native
from .anderson_mix import MAX_ROWS


class StepRule(NamedTuple):
    """The settings of `aafast.solvers.Anderson`; beta: None where it is adapted. restart, drop: 0 for never."""

    ridge: float
    relative: bool
    beta: float | None
    restart: float
    drop: float


def can_step(memory: dict[str, Tensor], x: Tensor, image: Tensor, backend: str) -> bool:
    """Whether `anderson_step` can take the place of the tensor operations: on a CPU, no gradient being recorded."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or type(x) is not Tensor or type(image) is not Tensor:
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, image, *memory.values())):
        return False
    batch, m, length = memory["X"].shape
    if image.shape != x.shape or image.dtype != x.dtype or (batch, length) != (len(x), x[0].numel()) or m > MAX_ROWS:
        return False  # the tensor operations say what is wrong
    if any(tensor.dtype != x.dtype or not tensor.is_contiguous() for tensor in memory.values()):
        return False
    return _dispatch.select("anderson_mix", backend, x.device, x.dtype) == "cpp"


def anderson_step(
    memory: dict[str, Tensor], evaluations: int, x: Tensor, image: Tensor, rule: StepRule
) -> tuple[Tensor, Tensor]:
    """The next point of Anderson acceleration and the norms of the stop test; the memory is changed in place.

    x, image: the point [B, ...] and its image; evaluations: those made before. memory: X, F [B, m, N], gram [B, m, m],
    and, where the rule asks for them, mean [B, N] and beta [B] (adapted damping) and least [B] (restart). Returns the
    point, shaped as x, and ||image - x||^2 and ||image||^2 [B, 2]. The rule is that of `aafast.solvers.Anderson`, whose
    tensor operations are the reference; sums are in float64 and in an order fixed by N alone. To be called where
    `can_step` says so.
    """
    X = memory["X"]
    batch, m, length = X.shape
    point, norms = torch.empty_like(x, memory_format=torch.contiguous_format), X.new_empty(batch, 2)
    adapted = rule.beta is None
    x, image = x.contiguous(), image.contiguous()  # kept until the call returns
    places = [_native.address(memory.get(name)) for name in ("X", "F", "gram", "mean", "beta", "least")]
    _native.call(
        "anderson_step_cpu", X.dtype, x.data_ptr(), image.data_ptr(), batch, m, length, evaluations % m,
        min(evaluations + 1, m), rule.ridge, 1.0 if adapted else rule.beta, rule.relative, adapted, rule.restart**2,
        rule.drop**2, evaluations, torch.get_num_threads(), *places, point.data_ptr(), norms.data_ptr(),
    )  # fmt: skip
    return point, norms

"""What solvers compute per sample, rounded the same whatever the batch, the threads, or the sample's place in it."""

from __future__ import annotations

import torch
from torch import Tensor

SEGMENT = 16384  # a sum over so few entries of one sample is made in one thread, in one order
FLOOR = 0.3  # of an adapted damping: less slows down more than it steadies
_TINY = 1e-30


def inner(a: Tensor, b: Tensor) -> Tensor:
    """<a_i, b_i> of the rows of a and b [B, N]."""
    first, *rest = (part.sum(1) for part in (a * b).split(SEGMENT, dim=1))
    for part in rest:
        first = first + part
    return first


def combine(weights: Tensor, rows: Tensor) -> Tensor:
    """sum_i weights_i rows_i of weights [B, m] and rows [B, m, N]; one row after the other, to fix the rounding."""
    total = weights[:, 0, None] * rows[:, 0]
    for i in range(1, rows.shape[1]):
        total = total + weights[:, i, None] * rows[:, i]
    return total


def norms_of(x: Tensor, image: Tensor) -> Tensor:
    """(||image - x||^2, ||image||^2) per sample [B, 2]."""
    with torch.no_grad():
        residual, image = (image - x).flatten(1), image.flatten(1)
        return torch.stack([inner(residual, residual), inner(image, image)], dim=1)


def secant(step: Tensor, change: Tensor) -> Tensor:
    """The damping [B] that the last step [B, N] asks for, `change` [B, N] being what it did to the residual.

    The length t of the step t g of least ||g + J t g||, J the residual's Jacobian, seen along the last step alone:
    t = -<step, change> / ||change||^2, held between FLOOR and 1. A map that overshoots has t < 1.
    """
    return (-inner(step, change) / inner(change, change).clamp_min(_TINY)).clamp(FLOOR, 1.0)


def write(ring: Tensor, slot: int, row: Tensor) -> Tensor:
    """The ring buffer with one row replaced: in place in a solve, out of place where gradients are recorded."""
    if torch.is_grad_enabled() and (row.requires_grad or ring.requires_grad):
        return torch.cat([ring[:, :slot], row.unsqueeze(1), ring[:, slot + 1 :]], dim=1)
    ring[:, slot] = row
    return ring

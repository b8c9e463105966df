"""The front door: a measurement and an assumed forward model go in, a reconstruction comes out."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from .adaptive import Model
from .checks import check_device, check_tensor
from .solvers import Solution
from .tasks import load


def reconstruct(
    y: Tensor,
    A0: Any,
    model: str | os.PathLike[str] | Model = "deconv",
    device: str | torch.device | None = None,
) -> Solution:
    """Reconstruct x from y = A(x) + noise when only an approximation A0 of A is known.

    y: [B, C, H, W]. A0: a forward model (`WaveletConvolution`, `GaussianBlur`, `Haze`, or an object with `A` and
    `A_adjoint`). model: a shipped name, a model folder, or a Model. device: where to solve, y's own by default; a
    Model, and a user's own A0 that is a module, stay there. Returns a Solution on that device, without gradients.
    Raises InputError, CheckpointError or BackendError.
    """
    y = check_tensor("y", y, ndim=4)
    where = y.device if device is None else check_device(device)
    solver = model if isinstance(model, Model) else load(model)
    solver = solver.to(where)
    if hasattr(A0, "to"):
        A0 = A0.to(device=where)
    with torch.no_grad():
        return solver(y.to(where), A0)

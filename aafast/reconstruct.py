"""The front door: a measurement and an assumed forward model go in, a reconstruction comes out."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from .adaptive import Model
from .checks import check_tensor
from .errors import BackendError, describe
from .solvers import Solution
from .tasks import load


def check_device(device: str | torch.device) -> torch.device:
    """The device by that name if it can be used here, else BackendError with the reason."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise BackendError(describe("device", repr(device), "cpu, cuda or cuda:N", "Use one of these names")) from error
    if found.type == "cuda":
        if not torch.cuda.is_available():
            reason = "this torch has no CUDA" if torch.version.cuda is None else "no CUDA device or driver is usable"
            raise BackendError(describe("device", f"{found} but {reason}", "a device that works here", 'Use "cpu"'))
        if (found.index or 0) >= torch.cuda.device_count():
            raise BackendError(
                describe(
                    "device",
                    str(found),
                    f"one of {torch.cuda.device_count()} CUDA devices",
                    "Lower its number",
                )
            )
    elif found.type != "cpu":
        raise BackendError(describe("device", str(found), "cpu or cuda", "Use one of these"))
    return found


def reconstruct(
    y: Tensor,
    A0: Any,
    model: str | os.PathLike[str] | Model = "deconv",
    device: str | torch.device | None = None,
) -> Solution:
    """Reconstruct x from y = A(x) + noise when only an approximation A0 of A is known.

    y: [B, C, H, W]. A0: a forward model (`WaveletConvolution`, `GaussianBlur`, `Haze`, or an object with `A` and
    `A_adjoint`). model: a shipped name, a model folder, or a Model. device: where to solve; y's own by default.
    Returns a Solution on that device, without gradients. Raises InputError, CheckpointError or BackendError.
    """
    y = check_tensor("y", y, ndim=4)
    where = y.device if device is None else check_device(device)
    solver = model if isinstance(model, Model) else load(model)
    solver = solver.to(where)
    if hasattr(A0, "to"):
        A0 = A0.to(device=where)
    with torch.no_grad():
        return solver(y.to(where), A0)

"""Solvers that worker processes can import: one that takes its time, one whose process dies once, one that fails."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import torch


def smoothed(y, A0):
    """A cheap nonlinear answer that differs from trace to trace."""
    batch = len(y)
    return SimpleNamespace(
        x=torch.tanh(A0.A_adjoint(y)),
        status=torch.ones(batch, dtype=torch.int8),
        iterations=torch.full((batch,), 3),
        residuals=torch.full((3, batch), 0.1),
        wavelet=A0.wavelet.repeat(batch, 1),
        backend="smoothed",
    )


def slow(y, A0):
    """`smoothed`, after a while."""
    time.sleep(float(os.environ.get("SLOW_SOLVER", "0.01")))
    return smoothed(y, A0)


def fragile(y, A0):
    """`smoothed`, but the first process that comes here dies."""
    flag = Path(os.environ["FRAGILE_SOLVER"])
    try:
        flag.unlink()
    except FileNotFoundError:
        return smoothed(y, A0)
    os.kill(os.getpid(), signal.SIGKILL)


def broken(y, A0):
    """No answer."""
    raise ArithmeticError("no answer")

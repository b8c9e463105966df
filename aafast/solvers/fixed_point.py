"""Fixed points of a plain function, for users who bring their own iteration."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..checks import COMPUTE_DTYPES, check_tensor
from ..config import FixedPointConfig
from .base import Solution
from .iterate import iterate


def anderson(
    f: Callable[[Tensor], Tensor],
    x0: Tensor,
    m: int = 8,
    beta: float | None = None,
    ridge: float = 1e-8,
    relative: bool = True,
    tol: float = 1e-6,
    max_iter: int = 50,
) -> Solution:
    """Find a fixed point x = f(x) per sample by Anderson acceleration (Walker & Ni 2011).

    f maps [B, ...] to [B, ...], one problem per sample. x0: [B, ...] float32 or float64. Stops a sample when
    ||f(x) - x|| / ||f(x)|| < tol or after max_iter evaluations, and returns the image of its best point. m, beta,
    ridge and relative: see FixedPointConfig. Raises InputError on a bad x0, window, damping or count.
    """
    ndim = x0.ndim if isinstance(x0, Tensor) and x0.ndim >= 2 else 2
    check_tensor("x0", x0, ndim, COMPUTE_DTYPES)
    config = FixedPointConfig("anderson", m, beta, ridge, relative, tol, max_iter)
    return iterate(lambda x, aux: (f(x), aux), x0, {}, config)

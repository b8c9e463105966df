"""The authors' two fixed-point solvers: Anderson acceleration, and the plain iteration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _residual(x: Tensor, image: Tensor) -> float:
    """`||f(x) - x|| / (1e-5 + ||f(x)||)` over the whole batch; reading it waits for the device."""
    return (image - x).norm().item() / (1e-5 + image.norm().item())


def anderson(
    f: Callable[[Tensor], Tensor], x0: Tensor, m: int = 5, lam: float = 1e-3, beta: float = 1.0,
    max_iter: int = 40, tol: float = 1e-3,
) -> tuple[Tensor, list[float]]:
    """Solve `x = f(x)` by mixing the last m iterates; every sample has its own weights, all stop together.

    For k = 2 .. max_iter - 1 solve `[[0, 1^T], [1, G G^T + lam I]] [nu; alpha] = [1; 0]`, G the rows
    `f(x_i) - x_i` of the last min(k, m) iterates, and call f at `beta alpha F + (1 - beta) alpha X`.

    Args:
        f: the map, [B, C, H, W] to the same.
        x0: start, [B, C, H, W].
        m: number of iterates mixed.
        lam: absolute ridge, units of ||f(x) - x||^2.
        beta: weight of the images against the arguments.
        max_iter: number of calls of f.
        tol: stop below this relative residual.

    Returns:
        The last mix (not its image), [B, C, H, W], and the relative residual of each of the mixes.

    Source: section 5.
    """
    batch, size = x0.shape[0], x0[0].numel()
    X = torch.zeros(batch, m, size, dtype=x0.dtype, device=x0.device)
    F = torch.zeros_like(X)
    X[:, 0], F[:, 0] = x0.reshape(batch, -1), f(x0).reshape(batch, -1)
    X[:, 1], F[:, 1] = F[:, 0], f(F[:, 0].reshape(x0.shape)).reshape(batch, -1)
    bordered = torch.zeros(batch, m + 1, m + 1, dtype=x0.dtype, device=x0.device)
    bordered[:, 0, 1:] = bordered[:, 1:, 0] = 1
    unit = torch.zeros(batch, m + 1, 1, dtype=x0.dtype, device=x0.device)
    unit[:, 0] = 1

    residuals: list[float] = []
    row = 1
    for k in range(2, max_iter):
        n = min(k, m)
        G = F[:, :n] - X[:, :n]
        ridge = lam * torch.eye(n, dtype=x0.dtype, device=x0.device)
        bordered[:, 1 : n + 1, 1 : n + 1] = G @ G.transpose(1, 2) + ridge
        alpha = torch.linalg.solve(bordered[:, : n + 1, : n + 1], unit[:, : n + 1])[:, 1:, 0]
        row = k % m
        X[:, row] = beta * (alpha[:, None] @ F[:, :n])[:, 0] + (1 - beta) * (alpha[:, None] @ X[:, :n])[:, 0]
        F[:, row] = f(X[:, row].reshape(x0.shape)).reshape(batch, -1)
        residuals.append(_residual(X[:, row], F[:, row]))
        if residuals[-1] < tol:
            break
    return X[:, row].reshape(x0.shape), residuals


def picard(
    f: Callable[[Tensor], Tensor], x0: Tensor, max_iter: int = 30, tol: float = 1e-3
) -> tuple[Tensor, list[float]]:
    """Solve `x = f(x)` by calling f on its own result, `max_iter` times after the first.

    Args:
        f: the map, [B, C, H, W] to the same.
        x0: start, [B, C, H, W].
        max_iter: number of calls after the first.
        tol: stop below this relative residual.

    Returns:
        The image of the last call, [B, C, H, W], and the relative residual of each call but the first.
    """
    image = f(x0)
    residuals: list[float] = []
    for _ in range(max_iter):
        x, image = image, f(image)
        residuals.append(_residual(x, image))
        if residuals[-1] < tol:
            break
    return image, residuals

"""Plain oracles of the two public operations: a handful of tensor expressions each, nothing fused."""

from __future__ import annotations

import torch
from torch import Tensor


def z_step(z: Tensor, g: Tensor, lr: float, weight_decay: float, eps: float) -> Tensor:
    """Move z by the first step of a fresh AdamW, which is a soft sign of the gradient.

    `z (1 - lr weight_decay) - lr g / (|g| + eps)`: at the first step both bias-corrected moments reduce to
    g and g^2, whatever the betas.

    Args:
        z: auxiliary variable, any shape, float32 or float64.
        g: gradient of the z-objective, shape and dtype of z.
        lr: step size, in units of z.
        weight_decay: decoupled decay, dimensionless.
        eps: softening of the sign, in units of g.

    Returns:
        The new z, shape and dtype of z.

    Source: first line of eq. 7, as one AdamW step.
    """
    return z * (1 - lr * weight_decay) - lr * g / (g.abs() + eps)


def anderson_mix(
    X: Tensor, F: Tensor, gram: Tensor, newest: int, count: int, ridge: float, beta: float, relative: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix the last iterates of a fixed-point iteration so that their residuals cancel best.

    With `G = F - X` and `H = G G^T + ridge I` over the valid rows, solve
    `[[0, 1^T], [1, H]] [nu; alpha] = [1; 0]` per sample and return `beta alpha F + (1 - beta) alpha X`.

    Args:
        X: arguments of the map, ring buffer [B, m, N], float32 or float64; rows 0..count-1 are valid.
        F: values of the map, like X.
        gram: inner products of the rows of G, [B, m, m], dtype of X; row and column `newest` may be stale.
        newest: row of X and F written last.
        count: number of valid rows, 1..m.
        ridge: added to the diagonal of the Gram matrix: absolute (units of ||G||^2), or, where `relative`,
            times the mean of its valid diagonal.
        beta: weight of the images against the arguments, dimensionless.
        relative: whether `ridge` is relative.

    Returns:
        x [B, N], the mix; gram [B, m, m], a copy whose row and column `newest` are fresh; alpha [B, m], zero
        from `count` on; norms [B, 2], `||F_newest - X_newest||^2` and `||F_newest||^2`. Sums run in float64.

    Source: section 5 (Anderson acceleration of the deep equilibrium model).
    """
    batch, slots, _ = X.shape
    X64, F64 = X[:, :count].double(), F[:, :count].double()
    G = F64 - X64

    fresh = torch.einsum("bn,bjn->bj", G[:, newest], G)
    gram64 = gram.to(torch.float64, copy=True)
    gram64[:, newest, :count] = fresh
    gram64[:, :count, newest] = fresh
    gram = gram64.to(gram.dtype)

    H = gram64[:, :count, :count].clone()
    size = torch.full((batch, 1), ridge, dtype=H.dtype, device=H.device)
    if relative:
        size = size * H.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    H.diagonal(dim1=1, dim2=2).add_(size)

    bordered = H.new_ones(batch, count + 1, count + 1)
    bordered[:, 0, 0] = 0
    bordered[:, 1:, 1:] = H
    unit = H.new_zeros(batch, count + 1)
    unit[:, 0] = 1
    weights = torch.linalg.solve(bordered, unit)[:, 1:]

    x = torch.einsum("bi,bin->bn", weights, beta * F64 + (1 - beta) * X64)
    alpha = weights.new_zeros(batch, slots)
    alpha[:, :count] = weights
    norms = torch.stack([G[:, newest].square().sum(1), F64[:, newest].square().sum(1)], dim=1)
    return x.to(X.dtype), gram, alpha.to(X.dtype), norms.to(X.dtype)

"""The mix of Anderson acceleration: a new Gram row, a small solve per sample, the mix, the stop's norms."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import InputError, describe
from . import _dispatch, _native
from ._tensors import check_compute_tensors, check_number, check_shape

MAX_ROWS = 16

Outputs = tuple[Tensor, Tensor, Tensor, Tensor]


class _Mix(NamedTuple):
    """What is not a tensor; see `anderson_mix`."""

    newest: int
    count: int  # type: ignore[assignment]  # of iterates, not of items
    ridge: float
    beta: float
    relative: bool


def anderson_mix(
    X: Tensor,
    F: Tensor,
    gram: Tensor,
    newest: int,
    count: int,
    ridge: float,
    beta: float,
    relative: bool,
    backend: str = "auto",
) -> Outputs:
    """Mix the last iterates of a fixed-point iteration so that their residuals cancel best.

    With `G = F - X` and `H = G G^T + ridge I` over the valid rows, solve
    `[[0, 1^T], [1, H]] [nu; alpha] = [1; 0]` for each sample, with pivots, and return
    `beta alpha F + (1 - beta) alpha X`. Where that system is exactly singular (all residuals zero and no
    ridge) alpha picks the newest row. Differentiable in X, F and gram: the older rows of `G G^T` are taken
    from gram, so a gradient reaches them through the gram that earlier calls returned.

    Args:
        X: arguments of the map, ring buffer [B, m, N], float32 or float64, m <= 16; rows 0..count-1 valid.
        F: values of the map, like X.
        gram: inner products of the rows of G, [B, m, m], dtype of X; row and column `newest` may be stale.
        newest: row of X and F written last, 0..count-1.
        count: number of valid rows, 1..m.
        ridge: added to the diagonal, >= 0: absolute (units of ||G||^2), or, where `relative`, times the mean
            of the valid diagonal.
        beta: weight of the images against the arguments, dimensionless, >= 0.
        relative: whether `ridge` is relative.
        backend: auto, eager, cpp, cuda or triton.

    Returns:
        x [B, N], the mix; gram [B, m, m], a copy whose valid part of row and column `newest` is fresh;
        alpha [B, m], zero from `count` on; norms [B, 2], `||F_newest - X_newest||^2` and `||F_newest||^2`.

    Raises:
        InputError: tensors that differ in shape, dtype or device, or a number out of range.
        BackendError: the backend asked for is unknown or cannot run here.

    Source: section 5 (Anderson acceleration of the deep equilibrium model).
    """
    check_compute_tensors(X=X, F=F, gram=gram)
    return _anderson_mix(X, F, gram, newest, count, float(ridge), float(beta), bool(relative), backend)


def _check(X: Tensor, F: Tensor, gram: Tensor, mix: _Mix) -> None:
    check_compute_tensors(X=X, F=F, gram=gram)
    if X.ndim != 3:
        raise InputError(
            describe("shape of X", list(X.shape), "[B, m, N]", "Flatten each iterate to one row")
        )
    batch, m, _ = X.shape
    if not 1 <= m <= MAX_ROWS:
        raise InputError(describe("rows m of X", m, f"1 to {MAX_ROWS}", "Keep fewer iterates"))
    check_shape("F", F, X.shape, "the shape of X")
    check_shape("gram", gram, (batch, m, m), "[B, m, m]")
    if not 1 <= mix.count <= m:
        raise InputError(describe("count", mix.count, f"1 to m = {m}", "Count the rows that are written"))
    if not 0 <= mix.newest < mix.count:
        last = mix.count - 1
        raise InputError(
            describe("newest", mix.newest, f"0 to count - 1 = {last}", "Name the row written last")
        )
    check_number("ridge", mix.ridge, 0.0)
    check_number("beta", mix.beta, 0.0)


@torch.library.custom_op("aafast::anderson_mix", mutates_args=())
def _anderson_mix(
    X: Tensor,
    F: Tensor,
    gram: Tensor,
    newest: int,
    count: int,
    ridge: float,
    beta: float,
    relative: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mix = _Mix(newest, count, ridge, beta, relative)
    _check(X, F, gram, mix)
    outputs = _outputs(X)
    run = _IMPLEMENTATIONS[_dispatch.select("anderson_mix", backend, X.device, X.dtype)]
    run(X.contiguous(), F.contiguous(), gram.contiguous(), mix, outputs)
    return outputs


@_anderson_mix.register_fake
def _(
    X: Tensor,
    F: Tensor,
    gram: Tensor,
    newest: int,
    count: int,
    ridge: float,
    beta: float,
    relative: bool,
    backend: str,
) -> Outputs:
    _check(X, F, gram, _Mix(newest, count, ridge, beta, relative))
    return _outputs(X)


def _outputs(X: Tensor) -> Outputs:
    batch, m, N = X.shape
    return X.new_empty(batch, N), X.new_empty(batch, m, m), X.new_empty(batch, m), X.new_empty(batch, 2)


def _save(ctx, inputs: tuple, output: Outputs) -> None:
    X, F, _, *rest, _ = inputs
    _, gram, alpha, _ = output
    ctx.mix = _Mix(*rest)
    ctx.save_for_backward(X, F, gram, alpha)


def _backward(
    ctx, to_x: Tensor, to_gram: Tensor, to_alpha: Tensor, to_norms: Tensor
) -> tuple[Tensor | None, ...]:
    X, F, gram, alpha = ctx.saved_tensors
    newest, count, ridge, beta, relative = ctx.mix
    m = X.shape[1]
    X, F, weight = X[:, :count], F[:, :count], alpha[:, :count]
    G = F - X

    # Through the solve: with K [nu; alpha] = e_0, v = K^-T [0; to_alpha] gives to_H = -v alpha^T.
    mixed = beta * F + (1 - beta) * X
    to_weight = to_alpha[:, :count] + (mixed @ to_x[:, :, None])[..., 0]
    K = _bordered(gram[:, :count, :count], ridge, relative)
    v, singular = torch.linalg.solve_ex(K.mT, pad(to_weight, (1, 0)))
    to_H = -v[:, 1:, None] * weight[:, None]
    to_H = torch.where((singular != 0)[:, None, None], 0.0, to_H)
    if relative:
        trace = to_H.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
        to_H = to_H + torch.diag_embed((trace * (ridge / count)).expand(-1, count))
    to_gram = to_gram + pad(to_H, (0, m - count, 0, m - count))

    # Row and column `newest` are the inner products <G_i, G_newest>; all else of gram came in as it was.
    is_newest = torch.arange(count, device=X.device) == newest
    inside = to_gram[:, :count, :count]
    to_row = (
        inside[:, newest] + torch.where(is_newest, 0.0, inside[:, :, newest]) + is_newest * to_norms[:, :1]
    )
    to_G = to_row[:, :, None] * G[:, newest : newest + 1]
    to_G = to_G + is_newest[:, None] * (to_row[:, None] @ G)
    to_size = is_newest[:, None] * (2 * to_norms[:, 1, None, None] * F)
    to_F = to_G + to_size + beta * weight[:, :, None] * to_x[:, None]
    to_X = (1 - beta) * weight[:, :, None] * to_x[:, None] - to_G
    written = pad(is_newest[:, None] | is_newest, (0, m - count, 0, m - count))
    rows = (0, 0, 0, m - count)
    return pad(to_X, rows), pad(to_F, rows), torch.where(written, 0.0, to_gram), *[None] * 6


_anderson_mix.register_autograd(_backward, setup_context=_save)


def _bordered(gram: Tensor, ridge: float, relative: bool) -> Tensor:
    """`[[0, 1^T], [1, gram + ridge I]]` for gram [B, count, count]."""
    batch, count, _ = gram.shape
    size = gram.new_full((batch, 1), ridge)
    if relative:
        size = size * gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    K = pad(gram + torch.diag_embed(size.expand(batch, count)), (1, 0, 1, 0), value=1.0)
    first = torch.arange(count + 1, device=gram.device) == 0
    return torch.where(first[:, None] & first, 0.0, K)


def _eager(X: Tensor, F: Tensor, gram: Tensor, mix: _Mix, outputs: Outputs) -> None:
    x, gram_out, alpha, norms = outputs
    newest, count, ridge, beta, relative = mix
    X, F = X[:, :count], F[:, :count]
    G = F - X
    # Products and sums, not matrix products: those may run in TF32 on a GPU.
    row = (G * G[:, newest : newest + 1]).sum(2, dtype=torch.float64)
    fresh = gram.to(torch.float64, copy=True)
    fresh[:, newest, :count] = row
    fresh[:, :count, newest] = row
    gram_out.copy_(fresh)

    K = _bordered(fresh[:, :count, :count], ridge, relative)
    unit = torch.zeros_like(K[:, 0])
    unit[:, 0] = 1
    solution, singular = torch.linalg.solve_ex(K, unit)
    pick = torch.zeros_like(row)
    pick[:, newest] = 1
    alpha.zero_()
    alpha[:, :count] = torch.where((singular != 0)[:, None], pick, solution[:, 1:])

    weight = alpha[:, :count, None]
    mixed = beta * weight * F
    if beta != 1:
        mixed += (1 - beta) * weight * X
    torch.sum(mixed, 1, out=x)
    norms[:, 0] = row[:, newest]
    norms[:, 1] = F[:, newest].square().sum(1, dtype=torch.float64)


def _cpp(X: Tensor, F: Tensor, gram: Tensor, mix: _Mix, outputs: Outputs) -> None:
    inputs, results = _addresses(X, F, gram), _addresses(*outputs)
    _native.call("anderson_mix_cpu", X.dtype, *inputs, *X.shape, *mix, torch.get_num_threads(), *results)


def _cuda(X: Tensor, F: Tensor, gram: Tensor, mix: _Mix, outputs: Outputs) -> None:
    scratch = X.new_empty(_native.invoke("anderson_mix_cuda_scratch", *X.shape), dtype=torch.float64)
    stream = torch.cuda.current_stream(X.device).cuda_stream
    inputs, results = _addresses(X, F, gram), _addresses(scratch, *outputs)
    _native.call("anderson_mix_cuda", X.dtype, *inputs, *X.shape, *mix, X.get_device(), stream, *results)


def _triton(X: Tensor, F: Tensor, gram: Tensor, mix: _Mix, outputs: Outputs) -> None:
    from ..kernels.anderson_mix import anderson_mix as launch

    with _dispatch.current_device(X.device):
        launch(X, F, gram, *mix, *outputs)


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


_IMPLEMENTATIONS = _dispatch.register(
    "anderson_mix", {"eager": _eager, "cpp": _cpp, "cuda": _cuda, "triton": _triton}
)

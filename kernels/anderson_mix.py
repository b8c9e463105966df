"""anderson_mix in Triton, two launches: partial sums of the new Gram row, then the small solve and the mix.

Every program of the second launch adds the partial sums in the same order and solves the same small system,
so that the solve needs no launch of its own and no two programs can disagree.
"""

import torch
import triton
import triton.language as tl

CHUNK = 4096  # elements of a sample one program of the first launch adds up
TILE_BYTES = 8192  # of all rows at a time: more would not stay in registers
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
SUMS = 32  # row length of the partial sums: <G_i, G_newest> in 0..m-1, ||F_newest||^2 last


@triton.jit
def gram_kernel(
    X_ptr,
    F_ptr,
    parts_ptr,
    m,
    N,
    newest,
    count,
    chunks,
    CHUNK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SUMS: tl.constexpr,
):
    """X, F: [B, m, N]; parts: [B, chunks, SUMS], of the dtype of X. Grid B * chunks."""
    sample = (tl.program_id(0) // chunks).to(tl.int64)
    chunk = tl.program_id(0) % chunks
    rows = tl.arange(0, ROWS)
    dtype = X_ptr.dtype.element_ty
    sums = tl.zeros((ROWS,), dtype=dtype)
    size = tl.zeros((BLOCK,), dtype=dtype)
    for start in range(0, CHUNK, BLOCK):
        at = chunk * CHUNK + start + tl.arange(0, BLOCK)
        inside = (rows < count)[:, None] & (at < N)[None, :]
        offset = sample * m * N + rows[:, None].to(tl.int64) * N + at[None, :]
        f = tl.load(F_ptr + offset, mask=inside, other=0.0)
        g = f - tl.load(X_ptr + offset, mask=inside, other=0.0)
        is_newest = (rows == newest)[:, None]
        g_newest = tl.sum(tl.where(is_newest, g, 0.0), 0)
        f_newest = tl.sum(tl.where(is_newest, f, 0.0), 0)
        sums += tl.sum(g * g_newest[None, :], 1)
        size += f_newest * f_newest
    to = parts_ptr + (sample * chunks + chunk) * SUMS
    tl.store(to + rows, sums)
    tl.store(to + SUMS - 1, tl.sum(size, 0))


@triton.jit
def mix_kernel(
    X_ptr,
    F_ptr,
    gram_ptr,
    parts_ptr,
    x_ptr,
    gram_out_ptr,
    alpha_ptr,
    norms_ptr,
    m,
    N,
    newest,
    count,
    chunks,
    blocks,
    ridge: tl.float64,
    beta: tl.float64,
    RELATIVE: tl.constexpr,
    IMAGES_ONLY: tl.constexpr,
    SIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    SUMS: tl.constexpr,
):
    """X, F: [B, m, N]; gram: [B, m, m]; x: [B, N]; alpha: [B, m]; norms: [B, 2]. Grid B * blocks.

    The system is a SIDE x SIDE tile whose row and column 0 are the border; rows past the last valid one are
    never chosen as a pivot.
    """
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    dtype = X_ptr.dtype.element_ty
    k_row = tl.arange(0, SIDE)
    sums = tl.zeros((SIDE,), dtype=tl.float64)
    size = tl.zeros((SUMS,), dtype=tl.float64)
    lane = tl.arange(0, SUMS)
    for c in range(chunks):
        part = parts_ptr + (sample * chunks + c) * SUMS
        sums += tl.load(part + k_row - 1, mask=(k_row > 0) & (k_row <= count), other=0.0).to(tl.float64)
        size += tl.load(part + lane, mask=lane == SUMS - 1, other=0.0).to(tl.float64)

    i = k_row[:, None] - 1
    j = k_row[None, :] - 1
    stored = (i >= 0) & (j >= 0) & (i < m) & (j < m)
    valid = (i >= 0) & (j >= 0) & (i < count) & (j < count)
    square = sample * m * m + i * m + j
    old = tl.load(gram_ptr + square, mask=stored, other=0.0)
    gram = tl.where(j == newest, sums[:, None], tl.where(i == newest, sums[None, :], old.to(tl.float64)))
    H = tl.where(valid, gram, 0.0)
    scale = tl.full((), 1.0, tl.float64)
    if RELATIVE:
        scale = tl.sum(tl.sum(tl.where(i == j, H, 0.0), 1), 0) / count
    border = ((i < 0) & (j >= 0) & (j < count)) | ((j < 0) & (i >= 0) & (i < count))
    identity = tl.where(valid & (i == j), 1.0, 0.0).to(tl.float64)
    A = tl.where(border, 1.0, H + identity * (ridge * scale))
    b = tl.where(k_row == 0, 1.0, 0.0).to(tl.float64)

    # Gauss-Jordan; a NaN counts as infinite, so that it is chosen and carried into the answer.
    used = k_row > count
    column = tl.zeros((SIDE,), dtype=tl.int32)
    singular = 0
    for k in range(count + 1):
        here = tl.sum(tl.where(k_row[None, :] == k, A, 0.0), 1)
        size_here = tl.where(used, -1.0, tl.where(here == here, tl.abs(here), float("inf")))
        best = tl.max(size_here, 0)
        pivot = tl.min(tl.where(size_here == best, k_row, SIDE), 0)
        singular = tl.where(best == 0.0, 1, singular)
        is_pivot = k_row == pivot
        pivot_row = tl.sum(tl.where(is_pivot[:, None], A, 0.0), 0)
        pivot_b = tl.sum(tl.where(is_pivot, b, 0.0), 0)
        pivot_value = tl.sum(tl.where(k_row == k, pivot_row, 0.0), 0)
        factor = tl.where(is_pivot, 0.0, here / pivot_value)
        A -= factor[:, None] * pivot_row[None, :]
        b -= factor * pivot_b
        used = used | is_pivot
        column = tl.where(is_pivot, k, column)
    solution = b / tl.sum(tl.where(k_row[None, :] == column[:, None], A, 0.0), 1)

    rows = tl.arange(0, ROWS)
    owner = (column[:, None] == rows[None, :] + 1) & (k_row <= count)[:, None]
    weight = tl.sum(tl.where(owner, solution[:, None], 0.0), 0)
    weight = tl.where(singular == 1, tl.where(rows == newest, 1.0, 0.0), weight)
    weight = tl.where(rows < count, weight, 0.0).to(dtype)

    at = block * BLOCK + tl.arange(0, BLOCK)
    inside = (rows < count)[:, None] & (at < N)[None, :]
    offset = sample * m * N + rows[:, None].to(tl.int64) * N + at[None, :]
    f_weight = (weight.to(tl.float64) * beta).to(dtype)
    mixed = f_weight[:, None] * tl.load(F_ptr + offset, mask=inside, other=0.0)
    if not IMAGES_ONLY:
        x_weight = (weight.to(tl.float64) * (1.0 - beta)).to(dtype)
        mixed += x_weight[:, None] * tl.load(X_ptr + offset, mask=inside, other=0.0)
    tl.store(x_ptr + sample * N + at, tl.sum(mixed, 0), mask=at < N)

    if block == 0:
        fresh = valid & ((i == newest) | (j == newest))
        tl.store(gram_out_ptr + square, tl.where(fresh, gram.to(dtype), old), mask=stored)
        tl.store(alpha_ptr + sample * m + rows, weight, mask=rows < m)
        tl.store(norms_ptr + sample * 2, tl.sum(tl.where(k_row == newest + 1, sums, 0.0), 0).to(dtype))
        tl.store(norms_ptr + sample * 2 + 1, tl.sum(size, 0).to(dtype))


def constants(m: int, element_size: int, relative: bool, beta: float) -> tuple[dict, dict]:
    """Compile-time arguments of the two kernels for m rows of elements of this many bytes."""
    rows = max(2, triton.next_power_of_2(m))
    shape = {"ROWS": rows, "BLOCK": min(CHUNK, TILE_BYTES // (rows * element_size)), "SUMS": SUMS}
    mix = {"RELATIVE": relative, "IMAGES_ONLY": beta == 1.0, "SIDE": triton.next_power_of_2(m + 1)}
    return {"CHUNK": CHUNK, **shape}, {**mix, **shape}


def anderson_mix(
    X: torch.Tensor,
    F: torch.Tensor,
    gram: torch.Tensor,
    newest: int,
    count: int,
    ridge: float,
    beta: float,
    relative: bool,
    x: torch.Tensor,
    gram_out: torch.Tensor,
    alpha: torch.Tensor,
    norms: torch.Tensor,
) -> None:
    """Fill x, gram_out, alpha and norms; every tensor is contiguous, on the current device."""
    batch, m, N = X.shape
    if batch == 0:
        return
    for_sums, for_mix = constants(m, X.element_size(), relative, beta)
    chunks, blocks = triton.cdiv(N, CHUNK), max(1, triton.cdiv(N, for_mix["BLOCK"]))
    parts = torch.empty(batch, chunks, SUMS, dtype=X.dtype, device=X.device)
    ring = (m, N, newest, count, chunks)
    if chunks:
        gram_kernel[(batch * chunks,)](X, F, parts, *ring, **for_sums, **OPTIONS)
    outputs = (x, gram_out, alpha, norms)
    mix_kernel[(batch * blocks,)](
        X, F, gram, parts, *outputs, *ring, blocks, ridge, beta, **for_mix, **OPTIONS
    )

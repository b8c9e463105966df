"""z_step in Triton: one pass, `out = z keep - lr g / (|g| + eps)` with `keep = 1 - lr weight_decay`."""

import torch
import triton
import triton.language as tl

BLOCK = 1024
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


@triton.jit
def z_step_kernel(
    z_ptr, g_ptr, out_ptr, n, keep: tl.float64, lr: tl.float64, eps: tl.float64, BLOCK: tl.constexpr
):
    """z, g, out: [n]. The scalars arrive in double and take the type of z."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    z = tl.load(z_ptr + at, mask=inside, other=0.0)
    g = tl.load(g_ptr + at, mask=inside, other=0.0)
    if z.dtype == tl.float32:
        keep = tl.cast(keep, tl.float32)
        lr = tl.cast(lr, tl.float32)
        eps = tl.cast(eps, tl.float32)
    tl.store(out_ptr + at, z * keep - lr * g / (tl.abs(g) + eps), mask=inside)


def z_step(z: torch.Tensor, g: torch.Tensor, keep: float, lr: float, eps: float, out: torch.Tensor) -> None:
    """Fill `out`; all three tensors share one dense layout, on the current device."""
    n = z.numel()
    if n:
        z_step_kernel[(triton.cdiv(n, BLOCK),)](z, g, out, n, keep, lr, eps, BLOCK=BLOCK, **OPTIONS)

"""Seeds of the misfit's gradient in Triton: the residual and the derivatives of both losses, one pass."""

import torch
import triton
import triton.language as tl

from .conv_tile import launch

BLOCK = 1024


@triton.jit(do_not_specialize=["pixels", "blocks", "groups", "served"])
def additive_seeds_kernel(
    nominal_ptr,
    f_ptr,
    linear_ptr,
    y_ptr,
    status_ptr,
    d_nominal_ptr,
    d_f_ptr,
    scale,
    pull,
    pixels,
    blocks,
    groups,
    served,
    BLOCK: tl.constexpr,
):
    """nominal, y, d_nominal: [B, groups * served, pixels]; f, linear (or None), d_f: [B, groups, pixels].

    Grid B * groups * blocks: each plane of f serves `served` channels.
    """
    plane = (tl.program_id(0) // blocks).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + plane // groups) != 0:
            return
    at = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = at < pixels
    correction = tl.load(f_ptr + plane * pixels + at, mask=inside, other=0.0)
    if linear_ptr is not None:
        correction += tl.load(linear_ptr + plane * pixels + at, mask=inside, other=0.0)
    seeds = tl.zeros((BLOCK,), tl.float32)
    for c in range(served):
        channel = (plane * served + c) * pixels + at
        error = tl.load(nominal_ptr + channel, mask=inside, other=0.0) + correction
        error -= tl.load(y_ptr + channel, mask=inside, other=0.0)
        seed = scale * error
        seeds += seed
        tl.store(d_nominal_ptr + channel, seed, mask=inside)
    tl.store(d_f_ptr + plane * pixels + at, seeds + pull * correction, mask=inside)


@triton.jit(do_not_specialize=["count", "blocks"])
def haze_seeds_kernel(
    nominal_ptr,
    light_ptr,
    logit_ptr,
    y_ptr,
    status_ptr,
    d_nominal_ptr,
    d_light_ptr,
    d_logit_ptr,
    scale,
    pull,
    count,
    blocks,
    BLOCK: tl.constexpr,
):
    """Every tensor: [B, count]. Grid B * blocks."""
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    element = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = element < count
    at = sample * count + element
    nominal = tl.load(nominal_ptr + at, mask=inside, other=0.0)
    contrast = nominal - tl.load(light_ptr + at, mask=inside, other=0.0)
    logit = tl.load(logit_ptr + at, mask=inside, other=0.0)
    # The transmission t and its rest 1 - t, each to full relative accuracy.
    small = tl.exp(-tl.abs(logit))
    large = 1.0 / (1.0 + small)
    tail = small * large
    t = tl.where(logit < 0.0, tail, large)
    rest = tl.where(logit < 0.0, large, tail)
    correction = -contrast * rest
    error = nominal + correction - tl.load(y_ptr + at, mask=inside, other=0.0)
    pulled = pull * correction
    seed = scale * error + pulled
    tl.store(d_nominal_ptr + at, seed * t - pulled, mask=inside)
    tl.store(d_light_ptr + at, seed * rest, mask=inside)
    tl.store(d_logit_ptr + at, seed * contrast * t * rest, mask=inside)


def additive_seeds(
    scale: float,
    gamma: float,
    nominal: torch.Tensor,
    f: torch.Tensor,
    y: torch.Tensor,
    d_nominal: torch.Tensor,
    d_f: torch.Tensor,
    linear: torch.Tensor | None = None,
    status: torch.Tensor | None = None,
) -> None:
    """Derivatives of `scale / 2 (sum (nominal + f - y)^2 + gamma sum f^2)` in nominal and f.

    nominal, y, d_nominal: float32 [B, C, H, W]; f, d_f, and `linear`, which is added to f: [B, F, H, W], F a divisor
    of C, each plane of f serving C / F channels in a row. All contiguous and on the current device. status: int8 [B]
    or None; samples whose status is not 0 are left as they are.
    """
    batch, channels, height, width = nominal.shape
    groups, pixels = f.shape[1], height * width
    served, blocks = channels // groups, triton.cdiv(pixels, BLOCK)
    numbers = (scale, scale * gamma * served, pixels, blocks, groups, served)
    arguments = (nominal, f, linear, y, status, d_nominal, d_f, *numbers)
    launch(additive_seeds_kernel, batch * groups * blocks, arguments, {"BLOCK": BLOCK})


def haze_seeds(
    scale: float,
    gamma: float,
    nominal: torch.Tensor,
    light: torch.Tensor,
    logit: torch.Tensor,
    y: torch.Tensor,
    d_nominal: torch.Tensor,
    d_light: torch.Tensor,
    d_logit: torch.Tensor,
    status: torch.Tensor | None = None,
) -> None:
    """Derivatives of `scale / 2 (sum (y_hat - y)^2 + gamma sum (y_hat - nominal)^2)` in nominal, light and logit.

    `y_hat = nominal t + light (1 - t)`, `t = 1 / (1 + exp(-logit))`; every tensor float32 [B, C, H, W], contiguous,
    on the current device. status: int8 [B] or None; samples whose status is not 0 are left as they are.
    """
    batch, count = nominal.shape[0], nominal[0].numel()
    blocks = triton.cdiv(count, BLOCK)
    tensors = (nominal, light, logit, y, status, d_nominal, d_light, d_logit)
    arguments = (*tensors, scale, scale * gamma, count, blocks)
    launch(haze_seeds_kernel, batch * blocks, arguments, {"BLOCK": BLOCK})

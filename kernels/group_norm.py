"""GroupNorm in Triton, around the convolutions: their partial sums made coefficients, and the passes that apply them.

Sums are added in double and in order; a sample is one program, so neither its batch nor its neighbours show.
"""

from typing import Any

import triton
import triton.language as tl

from .conv_tile import gelu

EPS = 1e-5
ROWS = 16  # tiles whose sums are added at a time
KEPT = 5  # per channel: a, b of the affine form, mean, 1 / deviation, sum
VALUES = 4096  # of a wide image that one program passes over


@triton.jit
def added(parts_ptr, tiles, C: tl.constexpr, ROWS: tl.constexpr):
    """The two sums [C] over all tiles of parts [tiles, 2, C], in double."""
    c = tl.arange(0, C)
    first = tl.zeros((ROWS, C), tl.float64)
    second = tl.zeros((ROWS, C), tl.float64)
    for start in range(0, tiles, ROWS):
        tile = start + tl.arange(0, ROWS)
        at = parts_ptr + tile[:, None] * 2 * C + c[None, :]
        inside = (tile < tiles)[:, None]
        first += tl.load(at, mask=inside, other=0.0).to(tl.float64)
        second += tl.load(at + C, mask=inside, other=0.0).to(tl.float64)
    return tl.sum(first, 0), tl.sum(second, 0)


@triton.jit
def over_group(values, width, C: tl.constexpr):
    """For each channel, the sum of `values` [C] over the `width` channels of its group."""
    group = tl.arange(0, C) // width
    return tl.sum(tl.where(group[:, None] == group[None, :], values[None, :], 0.0), 1)


@triton.jit(do_not_specialize=["tiles", "pixels", "channels", "width", "weight_stride", "bias_stride"])
def norm_kernel(
    parts_ptr,
    weight_ptr,
    bias_ptr,
    status_ptr,
    kept_ptr,
    tiles,
    pixels,
    channels,
    width,
    weight_stride,
    bias_stride,
    kept_stride,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    EPS: tl.constexpr,
):
    """parts: [B, tiles, 2, C], sums of h and h^2; weight, bias: [S, channels]; kept: [B, KEPT, C]. Grid B."""
    sample = tl.program_id(0).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    c = tl.arange(0, C)
    total, squares = added(parts_ptr + sample * tiles * 2 * C, tiles, C, ROWS)
    count = pixels.to(tl.float64) * width
    mean = over_group(total, width, C) / count
    variance = over_group(squares, width, C) / count - mean * mean
    scale = 1.0 / tl.sqrt(tl.where(variance < 0.0, 0.0, variance) + EPS)
    weight = tl.load(weight_ptr + sample * weight_stride + c, mask=c < channels, other=0.0).to(tl.float64)
    bias = tl.load(bias_ptr + sample * bias_stride + c, mask=c < channels, other=0.0).to(tl.float64)
    a = scale * weight
    to = kept_ptr + sample * kept_stride + c
    tl.store(to, a.to(tl.float32))
    tl.store(to + C, (bias - mean * a).to(tl.float32))
    tl.store(to + 2 * C, mean.to(tl.float32))
    tl.store(to + 3 * C, scale.to(tl.float32))
    tl.store(to + 4 * C, total.to(tl.float32))


@triton.jit(do_not_specialize=["tiles", "pixels", "channels", "width", "weight_stride"])
def norm_backward_kernel(
    parts_ptr,
    weight_ptr,
    kept_ptr,
    status_ptr,
    coefficients_ptr,
    d_weight_ptr,
    d_bias_ptr,
    d_conv_bias_ptr,
    unscale,
    tiles,
    pixels,
    channels,
    width,
    weight_stride,
    kept_stride,
    C: tl.constexpr,
    ROWS: tl.constexpr,
):
    """parts: [B, tiles, 2, C], sums of d (the gradient after GroupNorm) and of d h (h its input); weight: [S, channels]
    or None where there is no GroupNorm; kept: [B, KEPT, C] of the forward pass. Grid B.

    coefficients [B, 3, C]: A, B, C of the gradient before it, A d + B h + C. d_weight, d_bias (GroupNorm's) and
    d_conv_bias (of the convolution under it): [B, channels] times `unscale`, or None.
    """
    sample = tl.program_id(0).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    c = tl.arange(0, C)
    real = c < channels
    total, products = added(parts_ptr + sample * tiles * 2 * C, tiles, C, ROWS)
    before = total  # sum over the pixels of the gradient before GroupNorm
    if weight_ptr is not None:
        kept = kept_ptr + sample * kept_stride + c
        mean = tl.load(kept + 2 * C).to(tl.float64)
        scale = tl.load(kept + 3 * C).to(tl.float64)
        weight = tl.load(weight_ptr + sample * weight_stride + c, mask=real, other=0.0).to(tl.float64)
        towards = scale * (products - mean * total)
        count = pixels.to(tl.float64) * width
        m1 = over_group(weight * total, width, C) / count
        m2 = over_group(weight * towards, width, C) / count
        by_d = scale * weight
        by_h = -scale * scale * m2
        constant = scale * (scale * mean * m2 - m1)
        to = coefficients_ptr + sample * 3 * C + c
        tl.store(to, by_d.to(tl.float32))
        tl.store(to + C, by_h.to(tl.float32))
        tl.store(to + 2 * C, constant.to(tl.float32))
        before = by_d * total + by_h * tl.load(kept + 4 * C).to(tl.float64) + constant * pixels
        if d_weight_ptr is not None:
            tl.store(d_weight_ptr + sample * channels + c, (towards * unscale).to(tl.float32), mask=real)
            tl.store(d_bias_ptr + sample * channels + c, (total * unscale).to(tl.float32), mask=real)
    if d_conv_bias_ptr is not None:
        tl.store(d_conv_bias_ptr + sample * channels + c, (before * unscale).to(tl.float32), mask=real)


@triton.jit(do_not_specialize=["pixels", "blocks"])
def activate_kernel(
    h_ptr,
    affine_ptr,
    status_ptr,
    activated_ptr,
    pixels,
    blocks,
    h_stride,
    affine_stride,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """activated = GELU(a h + b). h, activated: [B, pixels, C]; affine: [B, 2, C], or None where a = 1, b = 0.

    Grid B * blocks of BLOCK pixels.
    """
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    pixel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, C)
    at = pixel[:, None] * C + c[None, :]
    inside = (pixel < pixels)[:, None]
    u = tl.load(h_ptr + sample * h_stride + at, mask=inside, other=0.0).to(tl.float32)
    if affine_ptr is not None:
        affine = affine_ptr + sample * affine_stride + c
        u = tl.load(affine)[None, :] * u + tl.load(affine + C)[None, :]
    tl.store(activated_ptr + sample * pixels * C + at, gelu(u).to(h_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["pixels", "blocks"])
def through_norm_kernel(
    d_ptr,
    h_ptr,
    coefficients_ptr,
    status_ptr,
    pixels,
    blocks,
    h_stride,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """d <- A d + B h + C in place. d, h: [B, pixels, C]; coefficients: [B, 3, C]. Grid B * blocks of BLOCK pixels."""
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    pixel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, C)
    at = pixel[:, None] * C + c[None, :]
    inside = (pixel < pixels)[:, None]
    coefficients = coefficients_ptr + sample * 3 * C + c
    d_ptr += sample * pixels * C
    d = tl.load(d_ptr + at, mask=inside, other=0.0).to(tl.float32)
    h = tl.load(h_ptr + sample * h_stride + at, mask=inside, other=0.0).to(tl.float32)
    before = tl.load(coefficients)[None, :] * d + tl.load(coefficients + C)[None, :] * h
    before += tl.load(coefficients + 2 * C)[None, :]
    tl.store(d_ptr + at, before.to(h_ptr.dtype.element_ty), mask=inside)


def norm_constants(channels: int) -> dict[str, Any]:
    """Compile-time arguments of the forward sums for this many padded channels."""
    return {"C": channels, "ROWS": ROWS, "EPS": EPS}


def backward_constants(channels: int) -> dict[str, Any]:
    """Compile-time arguments of the backward sums for this many padded channels."""
    return {"C": channels, "ROWS": ROWS}


def pass_constants(channels: int) -> dict[str, Any]:
    """Compile-time arguments of the two passes for this many padded channels."""
    return {"C": channels, "BLOCK": VALUES // channels}

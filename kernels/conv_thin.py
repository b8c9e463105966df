"""3x3 convolutions between thin planes and a wide image in Triton, each plane's nine neighbours one product deep."""

from typing import Any

import triton
import triton.language as tl

from .conv_tile import TAPS, TILE, convolved, finish_tile, operands, patches

PLANES = 8  # at most, on either side
NARROW = 16  # planes that a tile of the narrowing convolution computes, most of them padding


@triton.jit(do_not_specialize=["H", "W", "tiles", "channels", "bias_stride"])
def conv_widen_kernel(
    planes,
    plane_strides,
    weight_ptr,
    bias_ptr,
    h_ptr,
    affine_ptr,
    status_ptr,
    y_ptr,
    activated_ptr,
    parts_ptr,
    scale,
    H,
    W,
    tiles,
    channels,
    weight_stride,
    bias_stride,
    h_stride,
    affine_stride,
    y_stride,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """planes: INPUTS addresses of float32 [B, H W]; weight: [S, INPUTS, TAPS, OUTPUTS]; the rest as the wide
    convolution's. Grid B * tiles. The planes are multiplied by `scale` as they are read.
    """
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    row = pixel // W
    column = pixel - row * W
    tap = tl.arange(0, TAPS)
    to = tl.arange(0, OUTPUTS)
    dtype = weight_ptr.dtype.element_ty
    weight_ptr += sample * weight_stride + tap[:, None] * OUTPUTS + to[None, :]

    values = tl.zeros((BLOCK, OUTPUTS), tl.float32)
    for i in tl.static_range(INPUTS):
        x = patches(planes[i] + sample * plane_strides[i], pixel, row, column, H, W, scale, TAPS)
        weight = tl.load(weight_ptr + i * TAPS * OUTPUTS)
        values = tl.dot(x.to(dtype), weight, values, input_precision=PRECISION)
    finish_tile(
        values,
        bias_ptr,
        h_ptr,
        affine_ptr,
        y_ptr,
        activated_ptr,
        parts_ptr,
        sample,
        tile,
        tiles,
        pixel,
        H * W,
        channels,
        bias_stride,
        h_stride,
        affine_stride,
        y_stride,
        OUTPUTS,
        dtype,
    )


@triton.jit(do_not_specialize=["H", "W", "tiles", "outputs", "bias_stride"])
def conv_narrow_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    status_ptr,
    out_ptr,
    scale,
    H,
    W,
    tiles,
    outputs,
    weight_stride,
    bias_stride,
    INPUTS: tl.constexpr,
    NARROW: tl.constexpr,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    """x: [B, H W, INPUTS]; weight: [S, 9, INPUTS, NARROW]; bias: [S, outputs]; out: float32 [B, outputs, H W], the
    result times `scale`. Grid B * tiles.
    """
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    x_ptr += sample * H * W * INPUTS
    weight_ptr += sample * weight_stride
    values = convolved(x_ptr, weight_ptr, pixel, H, W, INPUTS, NARROW, PART, BLOCK, PRECISION, UNROLLED)
    to = tl.arange(0, NARROW)
    if bias_ptr is not None:
        values += tl.load(bias_ptr + sample * bias_stride + to, mask=to < outputs, other=0.0)[None, :]
    at = (sample * outputs + to[None, :]) * H * W + pixel[:, None]
    tl.store(out_ptr + at, values * scale, mask=(to < outputs)[None, :] & (pixel < H * W)[:, None])


def widen_constants(inputs: int, outputs: int, precision: str) -> dict[str, Any]:
    """Compile-time arguments for this many planes and padded channels."""
    return {"INPUTS": inputs, "OUTPUTS": outputs, "TAPS": TAPS, "BLOCK": TILE, "PRECISION": precision}


def narrow_constants(inputs: int, half: bool, precision: str) -> dict[str, Any]:
    """Compile-time arguments for this many padded channels."""
    return {**operands(inputs, half, precision), "NARROW": NARROW}

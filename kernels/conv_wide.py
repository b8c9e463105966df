"""3x3 convolution of a wide image in Triton: nine products of a tile's shifted pixels with the taps' weights.

The input is read as it is, once a tap, mostly from caches: GroupNorm and GELU are applied beforehand, once a value.
The same kernel serves forward (bias, partial sums of GroupNorm, GELU of layers without GroupNorm) and the input's
gradient (weights turned, times GELU', partial sums of GroupNorm's backward pass).
"""

from typing import Any

import triton
import triton.language as tl

from .conv_tile import convolved, finish_tile, operands


@triton.jit(do_not_specialize=["H", "W", "tiles", "channels", "bias_stride"])
def conv_wide_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    h_ptr,
    affine_ptr,
    status_ptr,
    y_ptr,
    activated_ptr,
    parts_ptr,
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
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    """x: [B, H W, INPUTS]; weight: [S, 9, INPUTS, OUTPUTS]; bias: [S, channels]; h: [B, H W, OUTPUTS];
    affine: [B, 2, OUTPUTS]; y, activated: [B, H W, OUTPUTS]; parts: [B, tiles, 2, OUTPUTS]. Grid B * tiles.

    Strides are those of samples, 0 where shared; PART channels of the input are multiplied at a time.
    """
    sample = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    pixel = tile * BLOCK + tl.arange(0, BLOCK)
    x_ptr += sample * H * W * INPUTS
    weight_ptr += sample * weight_stride
    values = convolved(x_ptr, weight_ptr, pixel, H, W, INPUTS, OUTPUTS, PART, BLOCK, PRECISION, UNROLLED)
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
        x_ptr.dtype.element_ty,
    )


def constants(inputs: int, outputs: int, half: bool, precision: str) -> dict[str, Any]:
    """Compile-time arguments for these padded channel counts."""
    return {**operands(inputs, half, precision), "OUTPUTS": outputs}

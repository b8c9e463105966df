"""What the convolutions have in common: GELU, the operands of a tap, and what is done with a finished tile.

Wide images are [B, H W, C] of float16 or float32, C padded to a power of two; tiles are runs of pixels, cut by the
size of the image alone, so that a sample's bits depend on nothing beside it.
"""

from typing import Any

import triton
import triton.language as tl

OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
TILE = 64  # pixels
TAPS = 16  # nine, padded to what a product of tensor cores takes


@triton.jit
def gelu(u):
    return 0.5 * u * (1.0 + tl.erf(u * 0.7071067811865476))


@triton.jit
def gelu_slope(u):
    return 0.5 + 0.5 * tl.erf(u * 0.7071067811865476) + 0.3989422804014327 * u * tl.exp(-0.5 * u * u)


@triton.jit
def tap_values(x_ptr, pixel, row, column, H, W, tap, first, CHANNELS: tl.constexpr, PART: tl.constexpr):
    """PART channels from `first` on of the pixels [n] moved by one tap, zero outside: [n, PART]. x: [H W, CHANNELS]."""
    dy = tap // 3 - 1
    dx = tap % 3 - 1
    inside = (row + dy >= 0) & (row + dy < H) & (column + dx >= 0) & (column + dx < W)
    c = first + tl.arange(0, PART)
    return tl.load(x_ptr + (pixel + (dy * W + dx))[:, None] * CHANNELS + c[None, :], mask=inside[:, None], other=0.0)


@triton.jit
def convolved(
    x_ptr,
    weight_ptr,
    pixel,
    H,
    W,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    """The convolution at BLOCK pixels, PART input channels at a time: float32 [BLOCK, OUTPUTS].

    x: [H W, INPUTS]; weight: [9, INPUTS, OUTPUTS].
    """
    row = pixel // W
    column = pixel - row * W
    depth = tl.arange(0, PART)
    weight_ptr += depth[:, None] * OUTPUTS + tl.arange(0, OUTPUTS)[None, :]
    PARTS: tl.constexpr = INPUTS // PART
    values = tl.zeros((BLOCK, OUTPUTS), tl.float32)
    if UNROLLED:
        # The next operands are on their way while two are multiplied.
        x = tap_values(x_ptr, pixel, row, column, H, W, 0, 0, INPUTS, PART)
        weight = tl.load(weight_ptr)
        for step in tl.static_range(9 * PARTS):
            if step + 1 < 9 * PARTS:
                first = (step + 1) % PARTS * PART
                next_x = tap_values(x_ptr, pixel, row, column, H, W, (step + 1) // PARTS, first, INPUTS, PART)
                next_weight = tl.load(weight_ptr + (step + 1) * PART * OUTPUTS)
            values = tl.dot(x, weight, values, input_precision=PRECISION)
            if step + 1 < 9 * PARTS:
                x = next_x
                weight = next_weight
    else:
        for tap in range(9):
            for at in tl.static_range(PARTS):
                x = tap_values(x_ptr, pixel, row, column, H, W, tap, at * PART, INPUTS, PART)
                weight = tl.load(weight_ptr + (tap * PARTS + at) * PART * OUTPUTS)
                values = tl.dot(x, weight, values, input_precision=PRECISION)
    return values


@triton.jit
def patches(plane_ptr, pixel, row, column, H, W, scale, TAPS: tl.constexpr):
    """Nine neighbours of each pixel of one plane [H, W] times `scale`, zero outside: [n, TAPS]."""
    tap = tl.arange(0, TAPS)
    dy = tap // 3 - 1
    dx = tap % 3 - 1
    near_row = row[:, None] + dy[None, :]
    near_column = column[:, None] + dx[None, :]
    inside = (near_row >= 0) & (near_row < H) & (near_column >= 0) & (near_column < W) & (tap < 9)[None, :]
    return tl.load(plane_ptr + pixel[:, None] + (dy * W + dx)[None, :], mask=inside, other=0.0) * scale


@triton.jit
def finish_tile(
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
    pixels,
    channels,
    bias_stride,
    h_stride,
    affine_stride,
    y_stride,
    C: tl.constexpr,
    dtype: tl.constexpr,
):
    """values [n, C] float32 plus bias, times GELU'(a h + b) where h is given: stored as y, and GELU of it as
    `activated`; parts [B, tiles, 2, C]: sums over the tile of y, and of y h, or of y^2 without h.

    affine: [B, 2, C], a and b, or None where they are 1 and 0; each of these may be None.
    """
    c = tl.arange(0, C)
    at = pixel[:, None] * C + c[None, :]
    within = (pixel < pixels)[:, None]
    if bias_ptr is not None:
        values += tl.load(bias_ptr + sample * bias_stride + c, mask=c < channels, other=0.0)[None, :]
    if h_ptr is not None:
        h = tl.load(h_ptr + sample * h_stride + at, mask=within, other=0.0).to(tl.float32)
        u = h
        if affine_ptr is not None:
            affine = affine_ptr + sample * affine_stride + c
            u = tl.load(affine)[None, :] * h + tl.load(affine + C)[None, :]
        values *= gelu_slope(u)
    # What is stored is what is summed and activated: the statistics are those of the values that are normalised.
    stored = values.to(dtype)
    if y_ptr is not None:
        tl.store(y_ptr + sample * y_stride + at, stored, mask=within)
    seen = stored.to(tl.float32)
    if activated_ptr is not None:
        tl.store(activated_ptr + sample * pixels * C + at, gelu(seen).to(dtype), mask=within)
    if parts_ptr is not None:
        seen = tl.where(within, seen, 0.0)
        part = parts_ptr + (sample * tiles + tile) * 2 * C + c
        tl.store(part, tl.sum(seen, 0))
        if h_ptr is not None:
            tl.store(part + C, tl.sum(seen * h, 0))
        else:
            tl.store(part + C, tl.sum(seen * seen, 0))


def part(channels: int, half: bool, precision: str) -> int:
    """Channels, or pixels of a weight's gradient, multiplied at a time: operands stay in registers between steps."""
    return min(channels, 32 if half or precision == "tf32" else 16)


def operands(channels: int, half: bool, precision: str) -> dict[str, Any]:
    """Compile-time arguments of `convolved`. Without tensor cores nine taps unrolled take minutes to compile."""
    unrolled = half or precision == "tf32"
    how = {"PRECISION": precision, "UNROLLED": unrolled}
    return {"INPUTS": channels, "PART": part(channels, half, precision), "BLOCK": TILE, **how}


def launch(kernel: Any, programs: int, arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    """Start a one-dimensional grid on the current device and stream."""
    kernel[(programs,)](*arguments, **constants, **OPTIONS)

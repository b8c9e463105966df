"""Weight gradients of the 3x3 convolutions in Triton: parts over fixed runs of pixels, then their sum in order."""

from typing import Any

import triton
import triton.language as tl

from .conv_tile import TAPS, TILE, part, patches, tap_values

RUN = 2048  # pixels, about, that one program adds up
ADDED = 256  # elements of a gradient whose parts one program adds up
SUM_TAP = 9  # the padding tap whose place holds a plane's own sum


@triton.jit(do_not_specialize=["H", "W", "chunks", "run"])
def wide_weight_kernel(
    x_ptr,
    gradient_ptr,
    status_ptr,
    parts_ptr,
    H,
    W,
    chunks,
    run,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """parts[tap, o, i] = sum over a run of pixels q of gradient(q)[o] x(q + tap)[i], the taps of one row of the kernel.

    x: [B, H W, INPUTS]; gradient: [B, H W, OUTPUTS]; parts: float32 [B, chunks, 9, OUTPUTS, INPUTS]; run: pixels of a
    chunk, a multiple of BLOCK. Grid B * chunks * 3.
    """
    sample = (tl.program_id(0) // (3 * chunks)).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    chunk = tl.program_id(0) // 3 % chunks
    dy = tl.program_id(0) % 3 - 1
    x_ptr += sample * H * W * INPUTS
    gradient_ptr += sample * H * W * OUTPUTS
    i = tl.arange(0, INPUTS)
    o = tl.arange(0, OUTPUTS)
    left = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    middle = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    right = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    for start in range(chunk * run, min(chunk * run + run, H * W), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        row = pixel // W
        column = pixel - row * W
        at = pixel[:, None] * OUTPUTS + o[None, :]
        gradient = tl.load(gradient_ptr + at, mask=(pixel < H * W)[:, None], other=0.0)
        gradient = tl.trans(gradient)
        # A row of taps is the middle row's of the pixels one row away.
        near = pixel + dy * W
        x = tap_values(x_ptr, near, row + dy, column, H, W, 3, 0, INPUTS, INPUTS)
        left = tl.dot(gradient, x, left, input_precision=PRECISION)
        x = tap_values(x_ptr, near, row + dy, column, H, W, 4, 0, INPUTS, INPUTS)
        middle = tl.dot(gradient, x, middle, input_precision=PRECISION)
        x = tap_values(x_ptr, near, row + dy, column, H, W, 5, 0, INPUTS, INPUTS)
        right = tl.dot(gradient, x, right, input_precision=PRECISION)
    SIZE: tl.constexpr = INPUTS * OUTPUTS
    to = parts_ptr + ((sample * chunks + chunk) * 9 + 3 * (dy + 1)) * SIZE + o[:, None] * INPUTS + i[None, :]
    tl.store(to, left)
    tl.store(to + SIZE, middle)
    tl.store(to + 2 * SIZE, right)


@triton.jit(do_not_specialize=["H", "W", "chunks", "run"])
def thin_weight_kernel(
    planes,
    plane_strides,
    wide_ptr,
    status_ptr,
    parts_ptr,
    scale,
    H,
    W,
    chunks,
    run,
    PLANES: tl.constexpr,
    C: tl.constexpr,
    TAPS: tl.constexpr,
    SUM_TAP: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """parts[tap, c] = sum over a run of pixels q of plane(q + tap) wide(q)[c]; at tap SUM_TAP the sum of plane(q).

    planes: PLANES addresses of float32 [B, H W], read times `scale`; wide: [B, H W, C]; parts: float32
    [B, chunks, PLANES, TAPS, C]. Grid B * chunks * PLANES.
    """
    sample = (tl.program_id(0) // (PLANES * chunks)).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    chunk = tl.program_id(0) // PLANES % chunks
    plane = tl.program_id(0) % PLANES
    plane_ptr = planes[0] + sample * plane_strides[0]
    for p in tl.static_range(1, PLANES):
        if plane == p:
            plane_ptr = planes[p] + sample * plane_strides[p]
    wide_ptr += sample * H * W * C
    tap = tl.arange(0, TAPS)
    c = tl.arange(0, C)
    values = tl.zeros((TAPS, C), tl.float32)
    totals = tl.zeros((TAPS,), tl.float32)
    for start in range(chunk * run, min(chunk * run + run, H * W), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        row = pixel // W
        column = pixel - row * W
        x = patches(plane_ptr, pixel, row, column, H, W, scale, TAPS)
        inside = (pixel < H * W)[:, None]
        wide = tl.load(wide_ptr + pixel[:, None] * C + c[None, :], mask=inside, other=0.0)
        values = tl.dot(tl.trans(x).to(wide.dtype), wide, values, input_precision=PRECISION)
        totals += tl.sum(x, 0)
    total = tl.sum(tl.where(tap == 4, totals, 0.0), 0)
    values = tl.where((tap == SUM_TAP)[:, None], total, values)
    part = (sample * chunks + chunk) * PLANES + plane
    tl.store(parts_ptr + part * TAPS * C + tap[:, None] * C + c[None, :], values)


@triton.jit(
    do_not_specialize=[
        "chunks",
        "size",
        "first",
        "count",
        "inner",
        "taps",
        "outer_step",
        "inner_step",
        "tap_step",
        "blocks",
    ]
)
def add_parts_kernel(
    parts_ptr,
    status_ptr,
    out_ptr,
    unscale,
    chunks,
    size,
    first,
    count,
    inner,
    taps,
    outer_step,
    inner_step,
    tap_step,
    blocks,
    BLOCK: tl.constexpr,
):
    """out[o, i, t] = unscale * sum over chunks of part[first + o outer_step + i inner_step + t tap_step].

    parts: [B, chunks, size]; out: [B, count], count = outer * inner * taps. Grid B * blocks of BLOCK.
    """
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    if status_ptr is not None:
        if tl.load(status_ptr + sample) != 0:
            return
    at = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    tap = at % taps
    i = at // taps % inner
    o = at // taps // inner
    part = parts_ptr + sample * chunks * size + first + o * outer_step + i * inner_step + tap * tap_step
    values = tl.zeros((BLOCK,), tl.float32)
    for _ in range(chunks):
        values += tl.load(part, mask=at < count, other=0.0)
        part += size
    tl.store(out_ptr + sample * count + at, values * unscale, mask=at < count)


def runs(pixels: int, block: int) -> tuple[int, int]:
    """How many runs an image is cut into, and the pixels of one, a multiple of the block."""
    chunks = triton.cdiv(pixels, RUN)
    run = triton.cdiv(triton.cdiv(pixels, chunks), block) * block
    return triton.cdiv(pixels, run), run


def block(half: bool, precision: str) -> int:
    """Pixels multiplied at a time."""
    return part(TILE, half, precision)


def wide_constants(inputs: int, outputs: int, half: bool, precision: str) -> dict[str, Any]:
    """Compile-time arguments for these padded channel counts."""
    return {"INPUTS": inputs, "OUTPUTS": outputs, "BLOCK": block(half, precision), "PRECISION": precision}


def thin_constants(planes: int, channels: int, half: bool, precision: str) -> dict[str, Any]:
    """Compile-time arguments for this many planes and padded channels."""
    shape = {"PLANES": planes, "C": channels, "TAPS": TAPS, "SUM_TAP": SUM_TAP}
    return {**shape, "BLOCK": block(half, precision), "PRECISION": precision}

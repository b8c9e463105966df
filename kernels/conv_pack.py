"""Weights of a stack of 3x3 convolutions as the Triton kernels read them."""

import triton
import triton.language as tl

BLOCK = 1024


SIZES = ["inputs", "outputs", "input_step", "output_step", "first_tap", "tap_step", "blocks", "weight_stride", "size"]


@triton.jit(do_not_specialize=SIZES)
def pack_kernel(
    weight_ptr,
    packed_ptr,
    inputs,
    outputs,
    input_step,
    output_step,
    first_tap,
    tap_step,
    blocks,
    weight_stride,
    packed_stride,
    size,
    PLANES_FIRST: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """packed: [S, TAPS, INPUTS, OUTPUTS], or [S, INPUTS, TAPS, OUTPUTS] with PLANES_FIRST, `size` elements, zero where
    padded; weight: float32, an element at input * input_step + output * output_step + first_tap + tap * tap_step.

    Grid S * blocks.
    """
    set = (tl.program_id(0) // blocks).to(tl.int64)
    at = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    o = at % OUTPUTS
    if PLANES_FIRST:
        tap = at // OUTPUTS % TAPS
        i = at // OUTPUTS // TAPS
    else:
        i = at // OUTPUTS % INPUTS
        tap = at // OUTPUTS // INPUTS
    real = (o < outputs) & (i < inputs) & (tap < 9)
    weight_ptr += set * weight_stride
    value = tl.load(weight_ptr + i * input_step + o * output_step + first_tap + tap * tap_step, mask=real, other=0.0)
    tl.store(packed_ptr + set * packed_stride + at, value.to(packed_ptr.dtype.element_ty), mask=at < size)

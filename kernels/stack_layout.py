"""Where a Triton stack of convolutions keeps packed weights, kept activations and scratch, in buffers of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from . import conv_thin, conv_weight, group_norm
from .conv_tile import TAPS, TILE

# Name: element of activations and packed weights, precision of a product of two of them.
ARITHMETICS = {"half": (torch.float16, "ieee"), "tf32": (torch.float32, "tf32"), "single": (torch.float32, "ieee")}
WIDEST = 64  # channels: more would not stay in registers
ALIGN = 256  # bytes; parts of a buffer start on multiples of it


def refusal(channels: Sequence[int], normed: Sequence[bool], groups: int) -> str | None:
    """Why a stack of these channels (inputs, hidden..., outputs) cannot be built, or None."""
    hidden = list(channels[1:-1])
    if not hidden or len(normed) != len(hidden):
        return f"a stack has a hidden layer or more, each normed or not: got {list(channels)}, {list(normed)}"
    if not all(1 <= thin <= conv_thin.PLANES for thin in (channels[0], channels[-1])):
        return f"a stack starts and ends with 1 to {conv_thin.PLANES} planes: got {channels[0]} and {channels[-1]}"
    if not all(1 <= wide <= WIDEST for wide in hidden):
        return f"hidden layers have 1 to {WIDEST} channels: got {hidden}"
    if any(norm and (groups < 1 or wide % groups) for norm, wide in zip(normed, hidden, strict=True)):
        return f"groups divide the channels of every layer that has a GroupNorm: got {groups} for {hidden}"
    return None


def padded(count: int) -> int:
    """Channels that a wide image of `count` is stored with: a power of two, at least a product's depth."""
    return max(16, triton.next_power_of_2(count))


class Image(NamedTuple):
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width


class Kept(NamedTuple):
    """Of a hidden layer: rows [B, ...] of h, and of KEPT coefficients a channel where it has a GroupNorm."""

    h: Tensor
    coefficients: Tensor | None


class Packed(NamedTuple):
    """Rows [S, ...] of each convolution's weights, and of its adjoint's."""

    forward: list[Tensor]
    adjoint: list[Tensor]


class ForwardScratch(NamedTuple):
    h: Tensor
    activated: list[Tensor]  # two, by turns
    parts: Tensor
    coefficients: Tensor


class BackwardScratch(NamedTuple):
    gradients: list[Tensor]  # two, by turns
    activated: Tensor
    parts: Tensor
    coefficients: Tensor
    weight_parts: Tensor


class Memory:
    """Hands out the parts of a buffer of bytes one after the other; without a buffer it only counts."""

    def __init__(self, buffer: Tensor | None = None) -> None:
        self.buffer, self.used = buffer, 0

    def take(self, count: int, dtype: torch.dtype) -> Tensor:
        """`count` elements of every row of the buffer [..., bytes]."""
        begin, size = self.used, count * dtype.itemsize
        self.used += -(-size // ALIGN) * ALIGN
        if self.buffer is None:
            return _NOTHING
        return self.buffer[..., begin : begin + size].view(dtype)


_NOTHING = torch.empty(0)


class StackLayout:
    """Sizes and places of one stack's memory."""

    def __init__(self, channels: Sequence[int], normed: Sequence[bool], groups: int, arithmetic: str) -> None:
        reason = refusal(channels, normed, groups)
        if arithmetic not in ARITHMETICS:
            reason = f"arithmetic is one of {', '.join(ARITHMETICS)}: got {arithmetic!r}"
        if reason is not None:
            raise ValueError(reason)
        self.channels, self.normed, self.groups = list(channels), list(normed), groups
        self.arithmetic = arithmetic
        self.dtype, self.precision = ARITHMETICS[arithmetic]
        self.padded = [padded(count) for count in self.channels]
        self.widest = max(self.padded[1:-1])
        self.last = len(self.channels) - 2  # the last convolution, and how many hidden layers there are

    @property
    def how(self) -> tuple[bool, str]:
        """What the kernels' constants depend on beside channel counts."""
        return self.dtype is torch.float16, self.precision

    def packed_bytes(self, adjoint: bool) -> int:
        """Bytes of one packed set of weights; `adjoint`: with those of the backward pass."""
        memory = Memory()
        self.packed(memory, adjoint)
        return memory.used

    def saved_bytes(self, height: int, width: int) -> int:
        """Bytes that a sample keeps from forward to backward."""
        memory = Memory()
        self.kept(memory, Image(height, width))
        return memory.used

    def workspace_bytes(self, height: int, width: int, batch: int, backward: bool) -> int:
        """Bytes of scratch of one call, whatever its optional arguments. ValueError where the image is too large."""
        image, memory = Image(height, width), Memory()
        if not 1 <= image.pixels < 2**31 // WIDEST:
            raise ValueError(f"images have 1 to {2**31 // WIDEST - 1} pixels: got {height} x {width}")
        scratch = self.backward_scratch if backward else self.forward_scratch
        scratch(memory, image, batch)
        return memory.used

    def packed(self, memory: Memory, adjoint: bool) -> Packed:
        def part(layer: int, back: bool) -> Tensor:
            given, made = (layer + 1, layer) if back else (layer, layer + 1)
            if layer == (self.last if back else 0):  # thin planes are widened
                return memory.take(self.channels[given] * TAPS * self.padded[made], self.dtype)
            return memory.take(9 * self.padded[given] * self.padded[made], self.dtype)

        layers = range(self.last + 1)
        forward = [part(layer, False) for layer in layers]
        return Packed(forward, [part(layer, True) for layer in layers] if adjoint else [])

    def kept(self, memory: Memory, image: Image) -> list[Kept]:
        found = []
        for wide, norm in zip(self.padded[1:-1], self.normed, strict=True):
            h = memory.take(image.pixels * wide, self.dtype)
            found.append(Kept(h, memory.take(group_norm.KEPT * wide, torch.float32) if norm else None))
        return found

    def forward_scratch(self, memory: Memory, image: Image, batch: int) -> ForwardScratch:
        values = batch * image.pixels * self.widest
        h, *activated = (memory.take(values, self.dtype) for _ in range(3))
        parts = memory.take(batch * self.tiles(image) * 2 * self.widest, torch.float32)
        coefficients = memory.take(batch * group_norm.KEPT * self.widest, torch.float32)
        return ForwardScratch(h, activated, parts, coefficients)

    def backward_scratch(self, memory: Memory, image: Image, batch: int) -> BackwardScratch:
        values = batch * image.pixels * self.widest
        activated, *gradients = (memory.take(values, self.dtype) for _ in range(3))
        parts = memory.take(batch * self.tiles(image) * 2 * self.widest, torch.float32)
        coefficients = memory.take(batch * 3 * self.widest, torch.float32)
        most = max(self.weight_parts(layer, image) for layer in range(self.last + 1))
        return BackwardScratch(gradients, activated, parts, coefficients, memory.take(batch * most, torch.float32))

    def tiles(self, image: Image) -> int:
        """Tiles of a convolution, each with sums of its own."""
        return triton.cdiv(image.pixels, TILE)

    def weight_parts(self, layer: int, image: Image) -> int:
        """Elements of all the parts of one sample's gradient of a convolution's weight."""
        given, made = self.padded[layer : layer + 2]
        if 0 < layer < self.last:
            return conv_weight.runs(image.pixels, conv_weight.block(*self.how))[0] * 9 * given * made
        thin, wide = (self.channels[0], made) if layer == 0 else (self.channels[-1], given)
        return conv_weight.runs(image.pixels, conv_weight.block(*self.how))[0] * thin * TAPS * wide

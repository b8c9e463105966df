"""One method a launch: the kernels of a Triton stack on one batch, and which arguments go where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import triton
from torch import Tensor

from . import conv_pack, conv_thin, conv_weight, conv_wide, group_norm
from .conv_tile import TAPS, launch
from .stack_layout import Image, StackLayout, padded


class Finish(NamedTuple):
    """What is done with each value a wide convolution makes; rows [B, ...] (bias [S, channels]) or None."""

    y: Tensor | None = None
    activated: Tensor | None = None
    bias: Tensor | None = None
    h: Tensor | None = None  # the gradient is multiplied by GELU' of h, through `affine` where that is given
    affine: Tensor | None = None
    parts: Tensor | None = None


def step(rows: Tensor | None) -> int:
    """Elements from a sample's row to the next one's, 0 where all share it."""
    return 0 if rows is None or len(rows) == 1 else rows.stride(0)


def pack(weight: Tensor, to: Tensor, back: bool, planes_first: bool) -> None:
    """One convolution's weights [S, outputs, inputs, 3, 3] into rows [S, ...]; `back`: those of its adjoint."""
    outputs, inputs = weight.shape[1:3]
    strides = 9, 9 * inputs
    numbers = (outputs, inputs, *reversed(strides), 8, -1) if back else (inputs, outputs, *strides, 0, 1)
    given = numbers[0] if planes_first else padded(numbers[0])
    made, taps = padded(numbers[1]), TAPS if planes_first else 9
    size = taps * given * made
    blocks = triton.cdiv(size, conv_pack.BLOCK)
    arguments = (weight, to, *numbers, blocks, step(weight), step(to), size)
    constants = {"PLANES_FIRST": planes_first, "INPUTS": given, "OUTPUTS": made, "TAPS": taps}
    launch(conv_pack.pack_kernel, len(weight) * blocks, arguments, {**constants, "BLOCK": conv_pack.BLOCK})


class Launches:
    """The launches of one call: its image, its batch, its stopped samples."""

    def __init__(self, layout: StackLayout, image: Image, batch: int, status: Tensor | None) -> None:
        self.layout, self.image, self.batch, self.status = layout, image, batch, status
        self.tiles = layout.tiles(image)

    def rows(self, flat: Tensor, size: int) -> Tensor:
        """The first `batch * size` elements of scratch as rows of a sample."""
        return flat[: self.batch * size].view(self.batch, size)

    def wide(self, flat: Tensor, channels: int) -> Tensor:
        return self.rows(flat, self.image.pixels * channels)

    def _finish(self, weight: Tensor, finish: Finish, channels: int) -> tuple[tuple, tuple]:
        """Arguments of a wide result: tensors, then numbers."""
        tensors = weight, finish.bias, finish.h, finish.affine, self.status, finish.y, finish.activated, finish.parts
        strides = (step(rows) for rows in (weight, finish.bias, finish.h, finish.affine, finish.y))
        return tensors, (*self.image, self.tiles, channels, *strides)

    def convolve(self, x: Tensor, weight: Tensor, given: int, channels: int, finish: Finish) -> None:
        """Wide to wide; `given` and `channels` as they are before padding."""
        tensors, numbers = self._finish(weight, finish, channels)
        constants = conv_wide.constants(padded(given), padded(channels), *self.layout.how)
        launch(conv_wide.conv_wide_kernel, self.batch * self.tiles, (x, *tensors, *numbers), constants)

    def widen(self, images: Sequence[Tensor], scale: float, weight: Tensor, channels: int, finish: Finish) -> None:
        """Thin planes, times `scale`, to wide."""
        planes, strides = _planes(images)
        tensors, numbers = self._finish(weight, finish, channels)
        constants = conv_thin.widen_constants(len(planes), padded(channels), self.layout.precision)
        arguments = planes, strides, *tensors, scale, *numbers
        launch(conv_thin.conv_widen_kernel, self.batch * self.tiles, arguments, constants)

    def narrow(
        self, x: Tensor, weight: Tensor, given: int, bias: Tensor | None, scale: float, out: Tensor
    ) -> None:
        """Wide to thin planes [B, outputs, H, W], times `scale`."""
        constants = conv_thin.narrow_constants(padded(given), *self.layout.how)
        tiles = triton.cdiv(self.image.pixels, constants["BLOCK"])
        numbers = scale, *self.image, tiles, out.shape[1], step(weight), step(bias)
        arguments = x, weight, bias, self.status, out, *numbers
        launch(conv_thin.conv_narrow_kernel, self.batch * tiles, arguments, constants)

    def norm(self, parts: Tensor, weight: Tensor, bias: Tensor, coefficients: Tensor) -> None:
        """GroupNorm's coefficients from the sums of h and h^2."""
        channels = weight.shape[1]
        numbers = self.tiles, self.image.pixels, channels, channels // self.layout.groups
        strides = step(weight), step(bias), step(coefficients)
        arguments = parts, weight, bias, self.status, coefficients, *numbers, *strides
        launch(group_norm.norm_kernel, self.batch, arguments, group_norm.norm_constants(padded(channels)))

    def norm_backward(
        self,
        parts: Tensor,
        channels: int,
        weight: Tensor | None,
        kept: Tensor | None,
        unscale: float,
        coefficients: Tensor | None,
        d_weight: Tensor | None,
        d_bias: Tensor | None,
        d_conv_bias: Tensor | None,
    ) -> None:
        """The coefficients of GroupNorm's backward pass, and the gradients that are sums over a layer's pixels."""
        width = 1 if kept is None else channels // self.layout.groups
        numbers = unscale, self.tiles, self.image.pixels, channels, width
        tensors = parts, weight, kept, self.status, coefficients, d_weight, d_bias, d_conv_bias
        arguments = *tensors, *numbers, step(weight), step(kept)
        constants = group_norm.backward_constants(padded(channels))
        launch(group_norm.norm_backward_kernel, self.batch, arguments, constants)

    def activate(self, h: Tensor, affine: Tensor | None, channels: int, activated: Tensor) -> None:
        """GELU of GroupNorm's affine form, once a value."""
        constants = group_norm.pass_constants(padded(channels))
        blocks = triton.cdiv(self.image.pixels, constants["BLOCK"])
        arguments = h, affine, self.status, activated, self.image.pixels, blocks, step(h), step(affine)
        launch(group_norm.activate_kernel, self.batch * blocks, arguments, constants)

    def through_norm(self, d: Tensor, h: Tensor, coefficients: Tensor, channels: int) -> None:
        """The gradient after a GroupNorm becomes that before it, in place."""
        constants = group_norm.pass_constants(padded(channels))
        blocks = triton.cdiv(self.image.pixels, constants["BLOCK"])
        arguments = d, h, coefficients, self.status, self.image.pixels, blocks, step(h)
        launch(group_norm.through_norm_kernel, self.batch * blocks, arguments, constants)

    def wide_weight(self, x: Tensor, gradient: Tensor, parts: Tensor, unscale: float, out: Tensor) -> None:
        """The weight gradient [B, outputs, inputs, 3, 3] of a wide convolution."""
        outputs, inputs = out.shape[1:3]
        constants = conv_weight.wide_constants(padded(inputs), padded(outputs), *self.layout.how)
        chunks, run = conv_weight.runs(self.image.pixels, constants["BLOCK"])
        arguments = x, gradient, self.status, parts, *self.image, chunks, run
        launch(conv_weight.wide_weight_kernel, self.batch * chunks * 3, arguments, constants)
        plane = padded(inputs) * padded(outputs)
        self._add(parts, out, unscale, chunks, 9 * plane, 0, (padded(inputs), 1, plane))

    def thin_weight(
        self,
        images: Sequence[Tensor],
        scale: float,
        wide: Tensor,
        channels: int,
        parts: Tensor,
        unscale: float,
        out: Tensor,
        planes_made: bool,
        sums: Tensor | None = None,
    ) -> None:
        """The weight gradient [B, outputs, inputs, 3, 3] of a convolution from thin planes, or (`planes_made`) to
        planes, whose gradient the images then are, with `sums` [B, planes] that of its bias.
        """
        planes, strides = _planes(images)
        C = padded(channels)
        constants = conv_weight.thin_constants(len(planes), C, *self.layout.how)
        chunks, run = conv_weight.runs(self.image.pixels, constants["BLOCK"])
        arguments = planes, strides, wide, self.status, parts, scale, *self.image, chunks, run
        launch(conv_weight.thin_weight_kernel, self.batch * chunks * len(planes), arguments, constants)
        size = len(planes) * TAPS * C
        if planes_made:  # the planes lie where taps point to from the wide image: turned by half a turn
            self._add(parts, out, unscale, chunks, size, 8 * C, (TAPS * C, 1, -C))
        else:
            self._add(parts, out, unscale, chunks, size, 0, (1, TAPS * C, C))
        if sums is not None:
            self._add(parts, sums, unscale, chunks, size, conv_weight.SUM_TAP * C, (TAPS * C, 0, 0))

    def _add(
        self, parts: Tensor, out: Tensor, unscale: float, chunks: int, size: int, first: int, steps: tuple[int, ...]
    ) -> None:
        """The parts' sum, from where `first` and the steps of output, input and tap say."""
        inner, taps = (out.shape[2], 9) if out.dim() == 5 else (1, 1)
        count = out[0].numel()
        blocks = triton.cdiv(count, conv_weight.ADDED)
        numbers = unscale, chunks, size, first, count, inner, taps, *steps, blocks
        arguments = parts, self.status, out, *numbers
        launch(conv_weight.add_parts_kernel, self.batch * blocks, arguments, {"BLOCK": conv_weight.ADDED})


def _planes(images: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Every plane of images [B or 1, C, H, W], one address each, and the steps between samples."""
    found = [(image[:, c], step(image)) for image in images for c in range(image.shape[1])]
    return tuple(plane for plane, _ in found), tuple(size for _, size in found)

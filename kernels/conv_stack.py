"""A stack of 3x3 convolutions with GroupNorm and GELU between them, in Triton.

A hidden layer is stored as it leaves its convolution (h); GroupNorm's affine form and GELU are applied once a value
by a pass of their own, whose result the next convolution reads; a layer without GroupNorm is activated as it is
written. From forward to backward h and GroupNorm's coefficients alone are kept; GELU is applied again where weights
have gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import group_norm
from .stack_launches import Finish, Launches, pack
from .stack_layout import ARITHMETICS, Image, Memory, StackLayout, refusal

Rows = Sequence[Tensor | None]


class Gradients(NamedTuple):
    """Gradients of a stack's weights, a set per sample; None where a layer has no such weight."""

    weight: Sequence[Tensor]  # per convolution [B, outputs, inputs, 3, 3]
    bias: Rows  # per convolution [B, outputs]
    norm_weight: Rows  # per hidden layer [B, channels]
    norm_bias: Rows


class TritonStack(StackLayout):
    """The stack on the current device and stream, without an allocation or a wait of its own.

    channels: inputs, hidden..., outputs; normed: which hidden layers have a GroupNorm of `groups`; arithmetic: "half"
    (float16 products, float32 sums), "tf32" or "single". ValueError with the reason where there is no such stack.

    Tensors are contiguous and on that device; buffers are uint8, start on 16 bytes, and need not be cleared. A sample
    whose `status` (int8 [B]; None: all run) is not 0 is passed over, and what is its own is left as it was.
    Weights are [S, ...], S = 1 (shared) or one set a sample.
    """

    def pack(self, weights: Sequence[Tensor], adjoint: bool, packed: Tensor | None = None) -> Tensor:
        """Weights [S, outputs, inputs, 3, 3] (float32) of each convolution as uint8 [S, packed_bytes(adjoint)].

        `adjoint` adds what the backward pass reads. Written to `packed`, where it is given.
        """
        if packed is None:
            size = len(weights[0]), self.packed_bytes(adjoint)
            packed = torch.empty(size, dtype=torch.uint8, device=weights[0].device)
        layout = self.packed(Memory(packed), adjoint)
        for layer, weight in enumerate(weights):
            pack(weight, layout.forward[layer], False, layer == 0)
            if adjoint:
                pack(weight, layout.adjoint[layer], True, layer == self.last)
        return packed

    def forward(
        self,
        planes: Sequence[Tensor],
        packed: Tensor,
        bias: Rows,
        norm_weight: Rows,
        norm_bias: Rows,
        out: Tensor,
        saved: Tensor | None,
        workspace: Tensor,
        status: Tensor | None = None,
    ) -> None:
        """Fill out [B, outputs, H, W].

        planes: float32 [B or 1, C, H, W], whose channels in a row are the inputs; packed: of `pack`; bias: per
        convolution [S, outputs] or None; norm_weight, norm_bias: per hidden layer [S, channels] or None; saved:
        [B, saved_bytes], kept for `backward`, or None; workspace: workspace_bytes(H, W, B, False).
        """
        image, batch = Image(*out.shape[2:]), len(out)
        run = Launches(self, image, batch, status)
        weight = self.packed(Memory(packed), False).forward
        kept = None if saved is None else self.kept(Memory(saved), image)
        scratch = self.forward_scratch(Memory(workspace), image, batch)
        x = None
        for layer in range(self.last):
            channels, wide, normed = self.channels[layer + 1], self.padded[layer + 1], self.normed[layer]
            activated = run.wide(scratch.activated[layer % 2], wide)
            if kept is not None:
                h, coefficients = kept[layer]
            else:
                h = run.wide(scratch.h, wide) if normed else None
                coefficients = run.rows(scratch.coefficients, group_norm.KEPT * wide)
            parts = scratch.parts if normed else None
            finish = Finish(h, None if normed else activated, bias[layer], parts=parts)
            if layer == 0:
                run.widen(planes, 1.0, weight[0], channels, finish)
            else:
                run.convolve(x, weight[layer], self.channels[layer], channels, finish)
            if normed:
                run.norm(scratch.parts, norm_weight[layer], norm_bias[layer], coefficients)
                run.activate(h, coefficients, channels, activated)
            x = activated
        run.narrow(x, weight[-1], self.channels[-2], bias[-1], 1.0, out)

    def backward(
        self,
        planes: Sequence[Tensor],
        packed: Tensor,
        bias: Rows,
        norm_weight: Rows,
        norm_bias: Rows,
        d_out: Tensor,
        saved: Tensor,
        workspace: Tensor,
        loss_scale: float = 1.0,
        status: Tensor | None = None,
        d_in: Tensor | None = None,
        gradients: Gradients | None = None,
    ) -> None:
        """Fill d_in [B, inputs, H, W] and `gradients`, those that are given, from d_out [B, outputs, H, W].

        packed: with the adjoint; workspace: workspace_bytes(H, W, B, True); the rest as `forward` had them.
        loss_scale, a power of two, multiplies every value inside, and none that is returned; gradients: anything with
        the fields of `Gradients`.
        """
        image, batch = Image(*d_out.shape[2:]), len(d_out)
        run, unscale = Launches(self, image, batch, status), 1.0 / loss_scale
        weight = self.packed(Memory(packed), True).adjoint
        kept = self.kept(Memory(saved), image)
        scratch = self.backward_scratch(Memory(workspace), image, batch)

        def activation(layer: int) -> Tensor:
            activated = run.wide(scratch.activated, self.padded[layer + 1])
            run.activate(*kept[layer], self.channels[layer + 1], activated)
            return activated

        def towards(layer: int, sums: bool) -> Finish:
            """The gradient after the GroupNorm of a layer, and its sums where something needs them."""
            y = run.wide(scratch.gradients[layer % 2], self.padded[layer + 1])
            return Finish(y, h=kept[layer].h, affine=kept[layer].coefficients, parts=scratch.parts if sums else None)

        def sums_of(layer: int) -> bool:
            return self.normed[layer] or (gradients is not None and gradients.bias[layer] is not None)

        top = self.last - 1
        if gradients is not None:
            found = gradients.weight[-1], True, gradients.bias[-1]
            wide, channels = activation(top), self.channels[-2]
            run.thin_weight([d_out], loss_scale, wide, channels, scratch.weight_parts, unscale, *found)
        run.widen([d_out], loss_scale, weight[-1], self.channels[-2], towards(top, sums_of(top)))
        for layer in range(top, -1, -1):
            given, channels, wide = self.channels[layer], self.channels[layer + 1], self.padded[layer + 1]
            d, normed = run.wide(scratch.gradients[layer % 2], wide), self.normed[layer]
            if sums_of(layer):
                wanted = [None] * 3
                if gradients is not None:
                    wanted = [part[layer] for part in (gradients.norm_weight, gradients.norm_bias, gradients.bias)]
                run.norm_backward(
                    scratch.parts, channels, norm_weight[layer] if normed else None, kept[layer].coefficients, unscale,
                    scratch.coefficients if normed else None, *wanted,
                )
            if normed:
                run.through_norm(d, kept[layer].h, scratch.coefficients, channels)
            if layer == 0:
                break
            if gradients is not None:
                run.wide_weight(activation(layer - 1), d, scratch.weight_parts, unscale, gradients.weight[layer])
            run.convolve(d, weight[layer], channels, given, towards(layer - 1, sums_of(layer - 1)))
        if gradients is not None:
            run.thin_weight(
                planes, 1.0, d, self.channels[1], scratch.weight_parts, unscale, gradients.weight[0], False
            )
        if d_in is not None:
            run.narrow(d, weight[0], self.channels[1], None, unscale, d_in)


__all__ = ["ARITHMETICS", "Gradients", "TritonStack", "refusal"]

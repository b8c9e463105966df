"""A stack of convolutions whose weights are part of theta: values, and gradients sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..nets.residual import Theta
from ..ops import _arena
from ..ops._stack import FusedStack, StackGradients, StackShape, StackWeights


@dataclass(frozen=True)
class Names:
    """Where a stack's weights stand in theta: `NAME_weight` (and `NAME_bias`) of each convolution and GroupNorm."""

    convs: tuple[str, ...]
    norms: tuple[str | None, ...]
    bias: bool


class ThetaStack:
    """The native stack of one part of a mismatch network, fed with theta [S, ...], S = 1 or one set per sample."""

    def __init__(self, label: str, names: Names, theta: Theta, groups: int, tile: int) -> None:
        weights = [theta[f"{name}_weight"] for name in names.convs]
        channels = (weights[0].shape[-3], *(weight.shape[-4] for weight in weights))
        self.label, self.names, self.outputs = label, names, channels[-1]
        self.shape = StackShape(channels, tuple(norm is not None for norm in names.norms), groups, tile)
        self.fused = FusedStack(self.shape, weights[0].dtype)

    def weights(self, theta: Theta, adjoint: bool) -> StackWeights:
        """theta as the native stack reads it; valid until the next call."""
        names = self.names
        convs = tuple(theta[f"{name}_weight"] for name in names.convs)
        packed = self.fused.pack(convs, adjoint, f"{self.label}.packed")
        bias = tuple(theta[f"{name}_bias"].contiguous() if names.bias else None for name in names.convs)
        norm_weight, norm_bias = (
            tuple(None if name is None else theta[f"{name}_{part}"].contiguous() for name in names.norms)
            for part in ("weight", "bias")
        )
        return StackWeights(packed, bias, norm_weight, norm_bias)

    def value(self, images: tuple[Tensor, ...], weights: StackWeights, batch: int, name: str) -> Tensor:
        """The stack's output [batch, outputs, H, W], in the arena under `name`."""
        out = _arena.take(f"{self.label}.{name}", (batch, self.outputs, *images[0].shape[2:]), self.fused.dtype)
        self.fused.forward(images, weights, out)
        return out

    def saved(self, batch: int, images: tuple[Tensor, ...]) -> Tensor:
        """Memory for the activations of `batch` samples, in the arena."""
        return self.fused.saved(batch, *images[0].shape[2:], name=f"{self.label}.saved")


class ThetaGradients:
    """Gradients of one stack's part of theta, a set per sample, filled chunk by chunk.

    For a shared theta (S = 1) the sets are added up at the end, so that the chunks do not show in the bits.
    """

    def __init__(self, stack: ThetaStack, weights: StackWeights, shared: bool, batch: int) -> None:
        self.stack, self.shared = stack, shared
        self.all = stack.fused.gradients(batch, weights)

    def chunk(self, begin: int, end: int) -> StackGradients:
        """Where the native stack writes the gradients of samples begin ... end."""
        parts = (self.all.weight, self.all.bias, self.all.norm_weight, self.all.norm_bias)
        return StackGradients(*([None if t is None else t[begin:end] for t in part] for part in parts))

    def into(self, theta_gradient: Theta) -> None:
        """Enter the gradients under theta's names."""
        names, found = self.stack.names, self.all
        for index, name in enumerate(names.convs):
            theta_gradient[f"{name}_weight"] = self._of_theta(found.weight[index])
            if names.bias:
                theta_gradient[f"{name}_bias"] = self._of_theta(found.bias[index])
        for index, name in enumerate(names.norms):
            if name is not None:
                theta_gradient[f"{name}_weight"] = self._of_theta(found.norm_weight[index])
                theta_gradient[f"{name}_bias"] = self._of_theta(found.norm_bias[index])

    def _of_theta(self, sets: Tensor) -> Tensor:
        return sets.sum(0, keepdim=True) if self.shared and len(sets) > 1 else sets


def chunk_size() -> int:
    """Samples taken together: few to a thread, so that their activations stay in the caches between two passes."""
    return 2 * max(1, torch.get_num_threads())


def chunks(batch: int) -> list[tuple[int, int]]:
    """The samples of a batch in the parts that are taken together."""
    size = chunk_size()
    return [(begin, min(begin + size, batch)) for begin in range(0, batch, size)]

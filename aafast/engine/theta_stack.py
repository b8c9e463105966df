"""A stack of convolutions whose weights are part of theta: values, and gradients sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..nets.residual import Theta
from ..ops._stack import StackGradients, StackWeights
from .place import Place


@dataclass(frozen=True)
class Names:
    """Where a stack's weights stand in theta: `NAME_weight` (and `NAME_bias`) of each convolution and GroupNorm."""

    convs: tuple[str, ...]
    norms: tuple[str | None, ...]
    bias: bool


class ThetaStack:
    """The native stack of one part of a mismatch network, fed with theta [S, ...], S = 1 or one set per sample."""

    def __init__(self, label: str, names: Names, theta: Theta, groups: int, place: Place) -> None:
        weights = [theta[f"{name}_weight"] for name in names.convs]
        channels = (weights[0].shape[-3], *(weight.shape[-4] for weight in weights))
        self.label, self.names, self.outputs, self.place = label, names, channels[-1], place
        self.fused = place.stack(channels, tuple(norm is not None for norm in names.norms), groups)

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

    def value(
        self, images: tuple[Tensor, ...], weights: StackWeights, batch: int, name: str, status: Tensor | None = None
    ) -> Tensor:
        """The stack's output [batch, outputs, H, W], in the arena under `name`."""
        out = self.place.take(f"{self.label}.{name}", (batch, self.outputs, *images[0].shape[2:]))
        self.fused.forward(images, weights, out, status=status)
        return out

    def saved(self, batch: int, images: tuple[Tensor, ...]) -> Tensor:
        """Memory for the activations of `batch` samples, in the arena."""
        height, width = images[0].shape[2:]
        return self.fused.saved(batch, height, width, f"{self.label}.saved", self.place.device)


class ThetaGradients:
    """Gradients of one stack's part of theta, a set per sample, filled chunk by chunk.

    For a shared theta (S = 1) the sets are added up at the end, so that the chunks do not show in the bits.
    """

    def __init__(self, stack: ThetaStack, weights: StackWeights, shared: bool, batch: int) -> None:
        self.stack, self.shared = stack, shared
        self.all = stack.fused.gradients(batch, weights)

    def chunk(self, begin: int, end: int) -> StackGradients:
        """Where the native stack writes the gradients of samples begin ... end."""
        bias, norm_weight, norm_bias = (
            [None if t is None else t[begin:end] for t in part]
            for part in (self.all.bias, self.all.norm_weight, self.all.norm_bias)
        )
        return StackGradients([t[begin:end] for t in self.all.weight], bias, norm_weight, norm_bias)

    def into(self, theta_gradient: Theta) -> None:
        """Enter the gradients under theta's names."""
        names, found = self.stack.names, self.all
        for index, name in enumerate(names.convs):
            theta_gradient[f"{name}_weight"] = self._of_theta(found.weight[index])
            if names.bias:
                theta_gradient[f"{name}_bias"] = self._of_theta(found.bias[index])
        for index, norm in enumerate(names.norms):
            if norm is not None:
                theta_gradient[f"{norm}_weight"] = self._of_theta(found.norm_weight[index])
                theta_gradient[f"{norm}_bias"] = self._of_theta(found.norm_bias[index])

    def _of_theta(self, sets: Tensor | None) -> Tensor:
        assert sets is not None
        if self.shared and len(sets) > 1 and self.stack.place.backend != "cuda":
            return sets.sum(0, keepdim=True)
        return sets  # its optimiser adds them up itself

"""The layers of the authors' networks: live spectral normalisation, and stacks that run as one operation."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import ops
from ...errors import InputError, describe
from ...nets.prox import initialise
from ...nets.spectral_norm import CONTRACTION

WIDTH, GROUPS = 64, 4
_SIDE = 40  # of the image u, whatever the data's size
_TINY = 1e-12


def _unit(tensor: Tensor) -> Tensor:
    return tensor / tensor.norm().clamp_min(_TINY)


class SpectralConv2d(nn.Module):
    """A 3x3 convolution with the kernel `weight_orig / sigma * 0.3^(1/17)`, sigma by one power iteration a call.

    `v = K^T u / |K^T u|`, `u = K v / |K v|` on (1, C, 40, 40) images, |K^T u| the norm of the whole 42 x 42 image whose
    border is cut off afterwards; `sigma = <u, K v>`, through which the gradient passes with u and v constant. That is
    train mode; in eval mode `weight` serves as the last call in train mode left it, or as it was loaded.
    """

    bias: nn.Parameter | None
    weight: Tensor
    weight_u: Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        fresh = _plain_conv(inputs, outputs, bias)
        self.register_parameter("bias", None if fresh.bias is None else nn.Parameter(fresh.bias.detach()))
        self.weight_orig = fresh.weight
        self.register_buffer("weight", fresh.weight.detach().clone())
        self.register_buffer("weight_u", _unit(torch.randn(1, outputs, _SIDE, _SIDE)))

    def applied(self) -> Tensor:
        """The kernel of this call, [C_out, C_in, 3, 3]."""
        if not self.training:
            return self.weight
        kernel = self.weight_orig
        with torch.no_grad():
            v = _unit(F.conv_transpose2d(self.weight_u, kernel))[:, :, 1:-1, 1:-1]
            image = F.conv2d(v, kernel, padding=1)
            u = _unit(image)
        if torch.is_grad_enabled() and kernel.requires_grad:
            image = F.conv2d(v, kernel, padding=1)
        applied = kernel * (CONTRACTION / (u * image).sum())
        self.weight_u, self.weight = u, applied.detach()  # new tensors: a state that was taken before stays as it is
        return applied

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.applied(), self.bias, padding=1)


class _OverNorm(torch.autograd.Function):
    """`x W^T / sigma`, `sigma = <u, W v>`, u and v constant: W is read as it is, and its gradient is one product.

    dL/dW = [d / sigma; -(<d, out> / sigma) u]^T [x; v].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        out = x @ weight.mT / sigma
        ctx.save_for_backward(x, weight, u, v, sigma, out)
        return out

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, u, v, sigma, out = ctx.saved_tensors
        d_x = d_weight = None
        if ctx.needs_input_grad[0]:
            d_x = d @ weight / sigma
        if ctx.needs_input_grad[1]:
            left = torch.cat([d, -(d * out).sum() * u[None]]) / sigma
            d_weight = left.mT @ torch.cat([x, v[None]])
        return d_x, d_weight, None, None, None


class SpectralLinear(nn.Module):
    """A linear layer with the weight `weight_orig / sigma`, `sigma = <u, W v>`; train mode turns u and v once a call.

    `v = W^T u / |W^T u|`, `u = W v / |W v|`; the gradient passes through sigma. x [B, inputs] -> [B, outputs].
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        fresh = nn.Linear(inputs, outputs)
        self.bias, self.weight_orig = fresh.bias, fresh.weight
        self.register_buffer("weight_u", _unit(torch.randn(outputs)))
        self.register_buffer("weight_v", _unit(torch.randn(inputs)))

    @torch.no_grad()
    def _sigma(self) -> Tensor:
        weight = self.weight_orig
        if not self.training:
            return self.weight_u @ (weight @ self.weight_v)
        self.weight_v = _unit(weight.mT @ self.weight_u)
        image = weight @ self.weight_v
        self.weight_u = _unit(image)
        return self.weight_u @ image

    def forward(self, x: Tensor) -> Tensor:
        sigma = self._sigma()
        return _OverNorm.apply(x, self.weight_orig, self.weight_u, self.weight_v, sigma) + self.bias


class StackTensors(NamedTuple):
    """What a stack computes with in one call: per convolution weight and bias, per hidden layer the GroupNorm."""

    weight: list[Tensor]
    bias: list[Tensor | None]
    norm_weight: list[Tensor | None]
    norm_bias: list[Tensor | None]


class Stack(nn.Sequential):
    """3x3 convolutions, GroupNorm and GELU between them, run as one operation; named as in nn.Sequential.

    Layers that were exchanged, or that carry hooks, are run one by one.
    """

    def peculiarity(self) -> str | None:
        """What keeps these layers from being one stack, or None."""
        if any(layer._forward_hooks or layer._forward_pre_hooks for layer in self):
            return "hooks on its layers"
        kinds = "".join(_kind(layer) for layer in self)
        return None if re.fullmatch("(cn?g)+c", kinds) else f"layers of the kinds {kinds}"

    def normed(self) -> tuple[bool, ...]:
        """Which hidden layers have a GroupNorm."""
        kinds = "".join(_kind(layer) for layer in self)
        return tuple("n" in part for part in kinds.split("g")[:-1])

    def applied(self) -> StackTensors:
        """The tensors of this call; it makes the power iterations of a call."""
        found = StackTensors([], [], [], [])
        for layer in self:
            if isinstance(layer, (SpectralConv2d, nn.Conv2d)):
                found.weight.append(layer.applied() if isinstance(layer, SpectralConv2d) else layer.weight)
                found.bias.append(layer.bias)
                found.norm_weight.append(None)
                found.norm_bias.append(None)
            elif isinstance(layer, nn.GroupNorm):
                found.norm_weight[-1], found.norm_bias[-1] = layer.weight, layer.bias
        return StackTensors(found.weight, found.bias, found.norm_weight[:-1], found.norm_bias[:-1])

    def forward(self, x: Tensor) -> Tensor:
        if self.peculiarity() is not None:
            return super().forward(x)
        weight, *rest = self.applied()
        bias, norm_weight, norm_bias = ([None if t is None else t[None] for t in part] for part in rest)
        return ops.conv_stack(x, [t[None] for t in weight], bias, norm_weight, norm_bias, GROUPS)


def _kind(layer: nn.Module) -> str:
    if type(layer) is SpectralConv2d:
        return "c"
    if type(layer) is nn.Conv2d:
        sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
        return "c" if sizes == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") else "?"
    if type(layer) is nn.GroupNorm:
        return "n" if (layer.num_groups, layer.eps, layer.affine) == (GROUPS, 1e-5, True) else "?"
    return "g" if type(layer) is nn.GELU and layer.approximate == "none" else "?"


def _plain_conv(inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    initialise(layer.weight)
    return layer


def stack(channels: list[int], normed: list[bool], normalised: bool, bias: bool = False) -> Stack:
    """A stack of convolutions between these channel counts, with a GroupNorm after the hidden ones that `normed` says.

    Kernels start at Kaiming normal (fan_out) over ten, biases at torch's own.
    """
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(zip(channels, channels[1:], strict=False)):
        layers.append(SpectralConv2d(inputs, outputs, bias) if normalised else _plain_conv(inputs, outputs, bias))
        if i < len(normed):
            layers += [nn.GroupNorm(GROUPS, outputs)] if normed[i] else []
            layers.append(nn.GELU())
    return Stack(*layers)


def dncnn(inputs: int, outputs: int, nlayers: int, normalised: bool) -> Stack:
    """`nlayers` convolutions of 64 channels, a GroupNorm after every hidden one but the first, no biases."""
    if nlayers < 2:
        raise InputError(describe("nlayers", nlayers, "2 or more", "Raise it"))
    hidden = nlayers - 1
    return stack([inputs, *[WIDTH] * hidden, outputs], [False, *[True] * (hidden - 1)], normalised)

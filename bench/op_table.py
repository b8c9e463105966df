"""The operations that the ops suite times: an entry each, and nothing else to change for a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aafast import ops
from aafast.bench import wide_layer
from aafast.reference import ops as oracle

SEISMIC = (32, 1, 128, 50)
COLOUR = (32, 3, 110, 88)
WIDE = (8, wide_layer.WIDTH, 128, 50)


@dataclass(frozen=True)
class Op:
    """An operation with several backends.

    function: called with the inputs and `backend=`. inputs: of shape [B, C, H, W], from a generator; tensors and
    numbers. oracle: the same in plain torch, called with the inputs in float64 for the gate and, as the baseline
    `reference`, in float32. flops: of one call by the direct method, whatever the method. tolerance: largest error
    over largest value.
    """

    name: str
    function: Callable[..., Any]
    shape: tuple[int, int, int, int]
    inputs: Callable[[tuple[int, ...], torch.Generator], tuple]
    oracle: Callable[..., Any]
    flops: Callable[[tuple[int, ...]], float]
    tolerance: float
    backends: tuple[str, ...] | None = None  # None: those that aafast.ops knows under the first word of the name


def _step_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    z, g = torch.randn(2, *shape, generator=generator)
    return z, 1e-8 * g, 1e-4, 0.01, 1e-8


def _mix_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    rows = 5
    X, G = torch.randn(2, shape[0], rows, _numel(shape) // shape[0], generator=generator)
    gram = (G - X) @ (G - X).mT
    return X, G, gram, rows - 1, rows, 1e-3, 1.0, True


def _numel(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def _wavelet_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    return torch.randn(shape, generator=generator), torch.randn(shape[0], 51, generator=generator)


def _correlate_time(x: Tensor, kernel: Tensor) -> Tensor:
    taps = kernel.shape[1]
    padded = F.pad(x, (0, 0, taps // 2, taps // 2)).transpose(0, 1)
    return F.conv2d(padded, kernel.reshape(-1, 1, taps, 1), groups=len(kernel)).transpose(0, 1)


def _blur_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    return torch.randn(shape, generator=generator), torch.randn(1, shape[1], 7, 7, generator=generator)


def _correlate_planes(x: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(x, kernel[0][:, None], padding=3, groups=x.shape[1])


HIDDEN, WIDTH, GROUPS = 3, 64, 4


def _stack_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    """An image, and the weights of one thin, HIDDEN wide and one thin layer with GroupNorm after the wide ones."""
    channels = [shape[1], *[WIDTH] * (HIDDEN + 1), 1]
    scale = [(2 / (9 * inputs)) ** 0.5 for inputs in channels[:-1]]
    pairs = zip(channels[1:], channels[:-1], scale, strict=True)
    weights = [s * torch.randn(1, outputs, inputs, 3, 3, generator=generator) for outputs, inputs, s in pairs]
    norms = [None, *(1 + 0.1 * torch.randn(1, WIDTH, generator=generator) for _ in range(HIDDEN))]
    shifts = [None, *(0.1 * torch.randn(1, WIDTH, generator=generator) for _ in range(HIDDEN))]
    return torch.randn(shape, generator=generator), weights, None, norms, shifts, GROUPS


def _stack(image: Tensor, weights: list[Tensor], bias: None, norms: list, shifts: list, groups: int) -> Tensor:
    for index, weight in enumerate(weights):
        image = F.conv2d(image, weight[0], padding=1)
        if index < len(norms):
            if norms[index] is not None:
                image = F.group_norm(image, groups, norms[index][0], shifts[index][0])
            image = F.gelu(image)
    return image


def _stack_flops(shape: tuple[int, ...]) -> float:
    batch, channels, height, width = shape
    return 18.0 * batch * height * width * (channels * WIDTH + HIDDEN * WIDTH**2 + WIDTH)


def _gradients(forward: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """A function of the same arguments that returns the gradients of the result's square in image and weights."""

    def run(image: Tensor, weights: list[Tensor], *rest: Any, **options: Any) -> tuple[Tensor, ...]:
        leaves = [tensor.detach().requires_grad_() for tensor in (image, *weights)]
        out = forward(leaves[0], leaves[1:], *rest, **options)
        return torch.autograd.grad(out.square().mean(), leaves)

    return run


OPS = (
    Op("z_step", ops.z_step, SEISMIC, _step_inputs, oracle.z_step, lambda s: 6.0 * _numel(s), 2e-7),
    Op("anderson_mix", ops.anderson_mix, SEISMIC, _mix_inputs, oracle.anderson_mix, lambda s: 25.0 * _numel(s), 5e-6),
    Op("correlate_time", ops.correlate_time, SEISMIC, _wavelet_inputs, _correlate_time,
       lambda s: 102.0 * _numel(s), 1e-5),
    Op("correlate_planes", ops.correlate_planes, COLOUR, _blur_inputs, _correlate_planes,
       lambda s: 98.0 * _numel(s), 1e-5),
    Op("conv_stack", ops.conv_stack, (8, 2, 128, 50), _stack_inputs, _stack, _stack_flops, 1e-5),
    Op("conv_stack gradients", _gradients(ops.conv_stack), (8, 2, 128, 50), _stack_inputs, _gradients(_stack),
       lambda s: 3 * _stack_flops(s), 3e-5),
    Op("wide layer", wide_layer.forward, WIDE, wide_layer.forward_inputs, wide_layer.forward, wide_layer.flops,
       1e-5, ("eager", "cpp")),
    Op("wide layer, input gradient", wide_layer.input_gradient, WIDE, wide_layer.gradient_inputs,
       wide_layer.input_gradient, wide_layer.flops, 1e-5, ("eager", "cpp")),
    Op("wide layer, weight gradient", wide_layer.weight_gradient, WIDE, wide_layer.gradient_inputs,
       wide_layer.weight_gradient, wide_layer.flops, 1e-5, ("eager", "cpp")),
)  # fmt: skip

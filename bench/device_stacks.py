"""Wide layers and whole proximal networks on a CUDA device, by the stacks of aafast.ops and by plain torch.

A layer cannot be called by itself, nor would that be its cost: its GroupNorm is finished by a launch of its own, and
its neighbours leave their results in the cache. So its time is what MORE further layers add to a stack, over MORE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aafast.bench import wide_layer
from aafast.bench.device_table import EVERY, DeviceOp, Program, Tensors
from aafast.bench.floors import Work
from aafast.ops import _arena
from aafast.ops._stack import StackShape, StackWeights
from aafast.ops._stacks import make_stack
from aafast.reference.build import TASKS

MORE = 4  # layers
WIDTH, GROUPS = 64, 4
# Products of 11 bits err by some 1e-3 in a stack this deep; bench/gates.py has the same for an iteration of three.
TOLERANCE = {"fast": 5e-3, "tf32": 5e-3, "strict": 2e-5}
DTYPES = {"fast": torch.float16, "tf32": torch.float32, "strict": torch.float32}


@dataclass(frozen=True, eq=False)
class Given:
    """A stack's image [B, inputs, H, W], weights [1, outputs, inputs, 3, 3], GroupNorms of all hidden layers but the
    first ([1, WIDTH] each), and a gradient of its result; for plain torch one layer as wide_layer.py takes it."""

    image: Tensor
    weights: list[Tensor]
    scale: list[Tensor | None]
    shift: list[Tensor | None]
    d_out: Tensor
    layer: Tensors

    @property
    def channels(self) -> tuple[int, ...]:
        return (self.image.shape[1], *(weight.shape[1] for weight in self.weights))

    def without(self, layers: int) -> Given:
        """The same stack with so many fewer hidden layers."""
        stays = len(self.scale) - layers
        weights = [*self.weights[:stays], self.weights[-1]]
        return replace(self, weights=weights, scale=self.scale[:stays], shift=self.shift[:stays])

    def to(self, device: str) -> Given:
        def moved(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(moved, value))
            return None if value is None else value.to(device)

        return Given(*(moved(getattr(self, field.name)) for field in fields(self)))

    @cached_property
    def truth(self) -> tuple[Tensor, Tensor, Tensors]:
        """In float64 the stack's result, and from `d_out` the gradients of its image and of its weights."""
        with torch.enable_grad():
            leaves = [tensor.double().requires_grad_() for tensor in (self.image, *self.weights)]
            out = plain(self, leaves[0], leaves[1:])
            d_image, *d_weights = torch.autograd.grad(out, leaves, self.d_out.double())
        return out.detach(), d_image, tuple(d_weights)

    @cached_property
    def layer_truth(self) -> dict[Callable, Tensors]:
        """Results of one layer's functions in float64, as they are asked for."""
        return {}


def stack_inputs(
    channels: tuple[int, ...], batch: int, size: tuple[int, int], generator: torch.Generator, layer: bool = False
) -> Given:
    """A stack of these channel counts with Kaiming normal weights; `layer`: with one layer's own inputs."""
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    pairs = list(zip(channels, channels[1:], strict=False))
    weights = [(2 / (9 * inputs)) ** 0.5 * normal(1, outputs, inputs, 3, 3) for inputs, outputs in pairs]
    hidden = len(pairs) - 1
    scale = [None, *(1 + 0.1 * normal(1, WIDTH) for _ in range(hidden - 1))]
    shift = [None, *(0.1 * normal(1, WIDTH) for _ in range(hidden - 1))]
    own = wide_layer.gradient_inputs((batch, WIDTH, *size), generator) if layer else ()
    return Given(normal(batch, channels[0], *size), weights, scale, shift, normal(batch, channels[-1], *size), own)


def plain(given: Given, image: Tensor, weights: list[Tensor]) -> Tensor:
    """The stack in plain torch, in the image's type and layout."""
    for weight, scale, shift in zip(weights, given.scale, given.shift, strict=False):
        image = F.conv2d(image, weight[0], padding=1)
        if scale is not None:
            image = F.group_norm(image, GROUPS, scale[0].to(image.dtype), shift[0].to(image.dtype))
        image = F.gelu(image)
    return F.conv2d(image, weights[-1][0], padding=1)


class StackRun:
    """A stack of a backend on given inputs, with memory of its own that stays where it is."""

    def __init__(self, given: Given, backend: str, precision: str) -> None:
        self.image, self.d_out, self.buffers = given.image, given.d_out, _arena.Buffers()
        normed = tuple(scale is not None for scale in given.scale)
        self.stack = make_stack(StackShape(given.channels, normed, GROUPS, precision), torch.float32, backend)
        batch, _, height, width = given.image.shape
        packed = self.stack.pack(tuple(given.weights), adjoint=True)
        self.weights = StackWeights(packed, (None,) * len(given.weights), tuple(given.scale), tuple(given.shift))
        self.saved = self.stack.saved(batch, height, width, device=given.image.device)
        self.out, self.d_in = torch.empty_like(given.d_out), torch.empty_like(given.image)
        self.found = self.stack.gradients(batch, self.weights)

    def forward(self) -> None:
        with _arena.own(self.buffers):
            self.stack.forward((self.image,), self.weights, self.out)

    def keep(self) -> StackRun:
        """Forward, with what `backward` needs."""
        with _arena.own(self.buffers):
            self.stack.forward((self.image,), self.weights, self.out, self.saved)
        return self

    def backward(self) -> None:
        with _arena.own(self.buffers):
            self.stack.backward((self.image,), self.weights, self.d_out, self.saved, self.d_in)

    def backward_with_weights(self) -> None:
        with _arena.own(self.buffers):
            self.stack.backward((self.image,), self.weights, self.d_out, self.saved, self.d_in, self.found)


def _layer_runs(given: Given, backend: str, precision: str) -> tuple[StackRun, StackRun]:
    return tuple(StackRun(part, backend, precision).keep() for part in (given, given.without(MORE)))


def forward_layer(given: Given, backend: str, precision: str) -> Program:
    """GroupNorm and GELU of the layer before, the convolution, the sums and coefficients of its own GroupNorm."""
    if backend == "eager":
        return _plain_layer(given, wide_layer.forward, 4, precision)
    long, short = _layer_runs(given, backend, precision)

    def result() -> Tensors:
        long.forward()
        return (long.out,)

    return Program(result, lambda: (given.truth[0],), (long.forward, short.forward), (1 / MORE, -1 / MORE))


def input_gradient_layer(given: Given, backend: str, precision: str) -> Program:
    """GroupNorm's and GELU's derivatives around the transposed convolution, and the sums that they need."""
    if backend == "eager":
        return _plain_layer(given, wide_layer.input_gradient, 7, precision)
    long, short = _layer_runs(given, backend, precision)

    def result() -> Tensors:
        long.backward()
        return (long.d_in,)

    return Program(result, lambda: (given.truth[1],), (long.backward, short.backward), (1 / MORE, -1 / MORE))


def weight_gradient_layer(given: Given, backend: str, precision: str) -> Program:
    """What asking for the gradients of weights adds to a layer's backward pass; a set per sample."""
    if backend == "eager":
        return _plain_layer(given, wide_layer.weight_gradient, 7, precision)
    long, short = _layer_runs(given, backend, precision)
    wide = slice(1, -1)

    def result() -> Tensors:
        long.backward_with_weights()
        return tuple(weight.sum(0, dtype=torch.float64) for weight in long.found.weight[wide])

    runs = (long.backward_with_weights, long.backward, short.backward_with_weights, short.backward)
    shares = (1 / MORE, -1 / MORE, -1 / MORE, 1 / MORE)
    return Program(result, lambda: tuple(weight[0] for weight in given.truth[2][wide]), runs, shares)


def _plain_layer(given: Given, function: Callable, count: int, precision: str) -> Program:
    """One layer by libraries, channels last, in the type of a precision."""
    own = given.layer[:count]
    mine = tuple(tensor.to(DTYPES[precision]) for tensor in own)

    def first(found: Tensor | Tensors) -> Tensors:
        return (found if isinstance(found, Tensor) else found[0],)

    def wanted() -> Tensors:
        if function not in given.layer_truth:
            given.layer_truth[function] = first(function(*(tensor.double() for tensor in own)))
        return given.layer_truth[function]

    return Program(lambda: first(function(*mine)), wanted, (lambda: function(*mine),))


def whole_stack(given: Given, backend: str, precision: str) -> Program:
    """A proximal network, forward, nothing kept."""
    if backend != "eager":
        mine = StackRun(given, backend, precision)

        def result() -> Tensors:
            mine.forward()
            return (mine.out,)

        return Program(result, lambda: (given.truth[0],), (mine.forward,))
    dtype = DTYPES[precision]
    image = given.image.to(dtype, memory_format=torch.channels_last)
    weights = [weight.to(dtype) for weight in given.weights]

    def run() -> Tensors:
        return (plain(given, image, weights),)

    return Program(run, lambda: (given.truth[0],), (run,))


def layer_work(shape: tuple[int, ...], stored: int, reads: int, writes: int, weights: int) -> Work:
    """A 3x3 convolution of C to C channels that reads and writes so many wide images and bytes of weights."""
    batch, channels, height, width = shape
    values = batch * channels * height * width
    return Work(18.0 * values * channels, float((reads + writes) * values * stored + weights))


def _layer_inputs(shape: tuple[int, ...], generator: torch.Generator) -> Given:
    batch, _, height, width = shape
    return stack_inputs((2, *[WIDTH] * (2 + MORE), 1), batch, (height, width), generator, layer=True)


def _prox(task: str, small: tuple[int, int]) -> DeviceOp:
    """The proximal network of a task at the reference's size, which reads z alone."""
    (batch, planes, *size), layers = TASKS[task].shape, TASKS[task].layers
    channels = (planes, *[WIDTH] * (layers - 1), planes)

    def inputs(shape: tuple[int, ...], generator: torch.Generator) -> Given:
        return stack_inputs(channels, shape[0], shape[2:], generator)

    def work(shape: tuple[int, ...], stored: int) -> Work:
        pixels = shape[0] * shape[2] * shape[3]
        flops = 18.0 * pixels * sum(a * b for a, b in zip(channels, channels[1:], strict=False))
        weights = 9 * stored * sum(a * b for a, b in zip(channels, channels[1:], strict=False))
        hidden = 2 * (layers - 1) * WIDTH * stored  # each written once and read once
        return Work(flops, float(pixels * (hidden + 4 * 2 * planes) + weights))

    return DeviceOp(f"prox of {task}", (batch, planes, *size), (2, planes, *small), inputs, work, whole_stack, EVERY,
                    TOLERANCE)  # fmt: skip


_DECONV = TASKS["deconv"].shape
_WIDE, _SMALL = (_DECONV[0], WIDTH, *_DECONV[2:]), (2, WIDTH, 9, 10)
_WEIGHTS = 9 * WIDTH**2
STACK_OPS = (
    # Reads the layer before, writes its own.
    DeviceOp("layer", _WIDE, _SMALL, _layer_inputs, lambda s, b: layer_work(s, b, 1, 1, _WEIGHTS * b), forward_layer,
             EVERY, TOLERANCE),
    # Reads the gradient and both layers, writes the gradient.
    DeviceOp("layer, input gradient", _WIDE, _SMALL, _layer_inputs,
             lambda s, b: layer_work(s, b, 3, 1, _WEIGHTS * b), input_gradient_layer, EVERY, TOLERANCE),
    # Reads the gradient and both layers, writes a float32 set of weights per sample.
    DeviceOp("layer, weight gradient", _WIDE, _SMALL, _layer_inputs,
             lambda s, b: layer_work(s, b, 3, 0, 4 * _WEIGHTS * s[0]), weight_gradient_layer, EVERY, TOLERANCE),
    _prox("deconv", (9, 10)), _prox("deblur", (9, 10)), _prox("defog", (9, 10)),
)  # fmt: skip

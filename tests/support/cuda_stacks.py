"""Stacks of convolutions on the emulated device, and the same in float64 by torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

FENCE = 256  # bytes watched before and behind every piece of memory


class Piece:
    """Memory that starts on 256 bytes, full of NaN, with fences that must stay whole."""

    def __init__(self, size: int, dtype: torch.dtype = torch.uint8) -> None:
        bytes_ = size * dtype.itemsize
        self.whole = torch.full((bytes_ + 3 * FENCE,), 7, dtype=torch.uint8)
        start = FENCE + -(self.whole.data_ptr() + FENCE) % FENCE
        self.raw = self.whole[start : start + bytes_]
        self.before, self.behind = self.whole[:start], self.whole[start + bytes_ :]
        self.raw.fill_(0xFF)
        self.dtype = dtype

    def tensor(self, *shape: int) -> Tensor:
        return self.raw.view(self.dtype).view(*shape)

    def address(self) -> int:
        return self.raw.data_ptr()

    def check(self) -> None:
        assert (self.before == 7).all() and (self.behind == 7).all(), "written beside a piece of memory"


@dataclass
class Weights:
    weight: list[Tensor]
    bias: list[Tensor | None]
    norm_weight: list[Tensor | None]
    norm_bias: list[Tensor | None]

    def parts(self) -> Iterator[list[Tensor | None]]:
        yield from (self.weight, self.bias, self.norm_weight, self.norm_bias)


@dataclass
class Stack:
    """A stack and its inputs. images [B, inputs, H, W]; weights [S, ...]."""

    channels: tuple[int, ...]
    normed: tuple[bool, ...]
    groups: int
    images: Tensor
    weights: Weights
    d_out: Tensor

    def sample(self, b: int) -> Stack:
        def row(t: Tensor | None) -> Tensor | None:
            return t if t is None or len(t) == 1 else t[b : b + 1].clone()

        weights = Weights(*([row(t) for t in part] for part in self.weights.parts()))
        return Stack(self.channels, self.normed, self.groups, self.images[b : b + 1].clone(), weights,
                     self.d_out[b : b + 1].clone())


@dataclass
class Result:
    out: Tensor
    d_in: Tensor | None = None
    gradients: list[list[Tensor | None]] = field(default_factory=list)

    def tensors(self) -> list[Tensor]:
        found = [self.out, self.d_in, *(t for part in self.gradients for t in part)]
        return [t for t in found if t is not None]


def random_stack(
    channels: tuple[int, ...], normed: tuple[bool, ...], groups: int, batch: int, size: tuple[int, int], sets: int,
    biased: bool,
) -> Stack:
    generator = torch.Generator().manual_seed(sum(channels) + batch + sum(size))

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    pairs = list(zip(channels, channels[1:], strict=False))
    weights = Weights(
        [random(sets, o, i, 3, 3) * (2 / (9 * i)) ** 0.5 for i, o in pairs],
        [random(sets, o) * 0.3 if biased else None for _, o in pairs],
        [1 + 0.2 * random(sets, o) if n else None for (_, o), n in zip(pairs, normed, strict=False)],
        [0.2 * random(sets, o) if n else None for (_, o), n in zip(pairs, normed, strict=False)],
    )
    return Stack(channels, normed, groups, random(batch, channels[0], *size), weights,
                 random(batch, channels[-1], *size))


def oracle(stack: Stack) -> Result:
    """out, d_in and the gradients [B, ...] of every sample's own weights, in float64."""
    batch = len(stack.images)

    def leaf(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        return t.double().expand(batch, *t.shape[1:]).clone().requires_grad_()

    images = stack.images.double().requires_grad_()
    weights = Weights(*([leaf(t) for t in part] for part in stack.weights.parts()))
    out = []
    for b in range(batch):
        v = images[b : b + 1]
        for layer, weight in enumerate(weights.weight):
            bias = weights.bias[layer]
            v = F.conv2d(v, weight[b], None if bias is None else bias[b], padding=1)
            if layer < len(stack.normed):
                if stack.normed[layer]:
                    v = F.group_norm(v, stack.groups, weights.norm_weight[layer][b], weights.norm_bias[layer][b])
                v = F.gelu(v)
        out.append(v)
    total = torch.cat(out)
    total.backward(stack.d_out.double())
    gradients = [[None if t is None else t.grad for t in part] for part in weights.parts()]
    return Result(total.detach(), images.grad, gradients)


def run(
    module: ModuleType, stack: Stack, arithmetic: str, device: int = 1, loss_scale: float = 1.0,
    status: Tensor | None = None, saves: bool = True, want_d_in: bool = True, want_weights: bool = True,
) -> Result:
    """The same through the native stack; without `saves` the forward pass alone."""
    batch, inputs, height, width = stack.images.shape
    outputs = stack.channels[-1]
    native = module.CudaStack(list(stack.channels), list(stack.normed), stack.groups, arithmetic)
    pieces = []

    def piece(size: int, dtype: torch.dtype = torch.uint8) -> Piece:
        pieces.append(Piece(size, dtype))
        return pieces[-1]

    def row(t: Tensor | None) -> tuple[int, int]:
        return (0, 0) if t is None else (t.data_ptr(), t[0].numel() if len(t) > 1 else 0)

    sets = len(stack.weights.weight[0])
    size = native.packed_size(saves)
    packed = piece(sets * size)
    native.pack([t.data_ptr() for t in stack.weights.weight], sets, saves, device, 0, packed.address())
    rows = ((packed.address(), size if sets > 1 else 0), *([row(t) for t in part] for part in stack.weights.parts()))
    rows = (rows[0], *rows[2:])
    step = 4 * height * width
    planes = [(stack.images.data_ptr() + i * step, inputs * height * width) for i in range(inputs)]
    flags = 0 if status is None else status.data_ptr()
    out = piece(batch * outputs * height * width, torch.float32)
    saved = piece(batch * native.saved_size(height, width)) if saves else None
    workspace = piece(native.forward_workspace(height, width, batch, saves))
    native.forward(height, width, batch, planes, rows, flags, device, 0, saved.address() if saves else 0,
                   workspace.address(), out.address())
    result = Result(out.tensor(batch, outputs, height, width))
    if saves:
        before = saved.raw.clone()
        workspace = piece(native.backward_workspace(height, width, batch, want_weights))
        d_in = piece(stack.images.numel(), torch.float32) if want_d_in else None
        gradients = []
        if want_weights:
            gradients = [
                [None if t is None else piece(batch * t[0].numel(), torch.float32) for t in part]
                for part in stack.weights.parts()
            ]
        native.backward(
            height, width, batch, planes, rows, stack.d_out.data_ptr(), saved.address(), loss_scale, flags, device, 0,
            workspace.address(), d_in.address() if want_d_in else 0,
            [[0 if g is None else g.address() for g in part] for part in gradients],
        )
        assert torch.equal(saved.raw, before), "the backward pass wrote what the forward pass keeps"
        result.d_in = d_in.tensor(*stack.images.shape) if want_d_in else None
        result.gradients = [
            [None if g is None else g.tensor(batch, *t.shape[1:]) for g, t in zip(part, tensors, strict=True)]
            for part, tensors in zip(gradients, stack.weights.parts(), strict=False)  # none where not wanted
        ]
    for one in pieces:
        one.check()
    return result

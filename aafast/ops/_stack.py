"""The stack of convolutions on tensors: who packs weights, who owns memory, which addresses go down."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError, describe
from . import _arena, _native

PRECISIONS = ("fast", "tf32", "strict")  # of the products; sums have at least float32
_TILES = {"fast": 4, "tf32": 4, "strict": 2}  # pixels of a Winograd tile: less work, or less rounding


@dataclass(frozen=True)
class StackShape:
    """Channel counts from the first planes to the last, which hidden layers have a GroupNorm, its groups, rounding."""

    channels: tuple[int, ...]
    normed: tuple[bool, ...]
    groups: int = 1
    precision: str = "fast"

    @property
    def layers(self) -> int:
        return len(self.channels) - 1


@dataclass
class StackWeights:
    """Weights of a stack, each [S, ...] with S = 1 (shared) or one set per sample; None where a layer has none."""

    packed: Tensor  # [S, packed_size]
    bias: tuple[Tensor | None, ...]  # per convolution [S, outputs]
    norm_weight: tuple[Tensor | None, ...]  # per hidden layer [S, channels]
    norm_bias: tuple[Tensor | None, ...]

    def rows(self, begin: int) -> tuple[Any, ...]:
        """The addresses of the sets from sample `begin` on."""
        return (
            row(self.packed, begin),
            [row(t, begin) for t in self.bias],
            [row(t, begin) for t in self.norm_weight],
            [row(t, begin) for t in self.norm_bias],
        )


@dataclass
class StackGradients:
    """Gradients [B, ...] of a stack's weights, a set per sample."""

    weight: list[Tensor]
    bias: list[Tensor | None]
    norm_weight: list[Tensor | None]
    norm_bias: list[Tensor | None]

    def addresses(self) -> list[list[int]]:
        parts = (self.weight, self.bias, self.norm_weight, self.norm_bias)
        return [[0 if tensor is None else tensor.data_ptr() for tensor in part] for part in parts]


def row(tensor: Tensor | None, begin: int) -> tuple[int, int]:
    """Address of a sample's row of a tensor [S, ...] and the step to the next one's, 0 where S = 1."""
    if tensor is None:
        return 0, 0
    step = tensor[0].numel() if len(tensor) > 1 else 0
    return tensor.data_ptr() + begin * step * tensor.itemsize, step


def planes(images: tuple[Tensor, ...], begin: int) -> list[tuple[int, int]]:
    found = []
    for image in images:
        address, step = row(image, begin)
        pixels = image.shape[2] * image.shape[3] * image.itemsize
        found += [(address + channel * pixels, step) for channel in range(image.shape[1])]
    return found


def _isa() -> str:
    module, _ = _native.load()
    return "" if module is None else module.selected_isa()


@functools.lru_cache(maxsize=64)
def native(shape: StackShape, dtype: torch.dtype, isa: str) -> Any:
    """The native object of this shape; `isa` is part of the key, since it chooses its set when it is made."""
    module, reason = _native.load()
    if module is None:
        raise BackendError(describe("stack of convolutions", reason, "a module", "Use backend='eager'"))
    kind = getattr(module, f"Stack_{str(dtype).removeprefix('torch.')}")
    return kind(list(shape.channels), list(shape.normed), shape.groups, _TILES[shape.precision])


class FusedStack:
    """The CPU's stack for one dtype, and the face of the others.

    All tensors are contiguous; images are [B, C, H, W], or [1, C, H, W] for all.
    """

    def __init__(self, shape: StackShape, dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.native = native(shape, dtype, _isa())

    def pack(self, weights: tuple[Tensor, ...], adjoint: bool, name: str | None = None) -> Tensor:
        """Packed weights [S, packed_size] of convolutions [S, outputs, inputs, 3, 3]; in the arena under `name`."""
        sets = len(weights[0])
        size = (sets, self.native.packed_size(adjoint))
        packed = torch.empty(size, dtype=self.dtype) if name is None else _arena.take(name, size, self.dtype)
        weights = tuple(weight.contiguous() for weight in weights)
        addresses = [weight.data_ptr() for weight in weights]
        self.native.pack(addresses, sets, adjoint, torch.get_num_threads(), packed.data_ptr())
        return packed

    def saved(
        self, batch: int, height: int, width: int, name: str | None = None, device: torch.device = _arena.CPU
    ) -> Tensor:
        """Memory for the activations of `batch` samples."""
        size = (batch, self.native.saved_size(height, width))
        return torch.empty(size, dtype=self.dtype) if name is None else _arena.take(name, size, self.dtype)

    def forward(
        self,
        images: tuple[Tensor, ...],
        weights: StackWeights,
        out: Tensor,
        saved: Tensor | None = None,
        begin: int = 0,
        status: Tensor | None = None,
    ) -> None:
        """Run samples begin ... begin + len(out) of the images into out [b, outputs, H, W].

        status: int8 [B] on a device, not 0 for samples to skip; the CPU's callers leave those out themselves.
        """
        batch, _, height, width = out.shape
        threads = torch.get_num_threads()
        size = self.native.forward_workspace(height, width, batch, threads, saved is not None)
        workspace = _arena.take("workspace", (size,), self.dtype)
        self.native.forward(
            height, width, batch, planes(images, begin), weights.rows(begin), threads,
            0 if saved is None else saved.data_ptr(), workspace.data_ptr(), out.data_ptr(),
        )

    def backward(
        self,
        images: tuple[Tensor, ...],
        weights: StackWeights,
        d_out: Tensor,
        saved: Tensor,
        d_in: Tensor | None = None,
        gradients: StackGradients | None = None,
        begin: int = 0,
        scale: float = 1.0,
        status: Tensor | None = None,
    ) -> None:
        """From d_out [b, outputs, H, W] fill d_in [b, inputs, H, W] and the gradients of the weights.

        scale: the size of d_out where its cause is 1; products in 16 bits are brought near 1 by it.
        """
        batch, _, height, width = d_out.shape
        threads = torch.get_num_threads()
        size = self.native.backward_workspace(height, width, batch, threads, gradients is not None)
        workspace = _arena.take("workspace", (size,), self.dtype)
        self.native.backward(
            height, width, batch, planes(images, begin), weights.rows(begin), d_out.data_ptr(), saved.data_ptr(),
            threads, workspace.data_ptr(), 0 if d_in is None else d_in.data_ptr(),
            [] if gradients is None else gradients.addresses(),
        )

    def gradients(self, batch: int, weights: StackWeights) -> StackGradients:
        """Fresh memory for the gradients of `batch` samples."""
        counts = self.shape.channels
        place = torch.empty(0, dtype=self.dtype, device=weights.packed.device)

        def like(layer: int, tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else place.new_empty(batch, counts[layer + 1])

        return StackGradients(
            [place.new_empty(batch, counts[i + 1], counts[i], 3, 3) for i in range(self.shape.layers)],
            [like(i, tensor) for i, tensor in enumerate(weights.bias)],
            [like(i, tensor) for i, tensor in enumerate(weights.norm_weight)],
            [like(i, tensor) for i, tensor in enumerate(weights.norm_bias)],
        )


def saved_size(hidden: list[int], pixels: int) -> int:
    """Elements that a sample's activations take, as the native stack lays them out; sizes may be symbolic."""
    return sum(_aligned(pixels * channels) + _aligned(5 * channels) for channels in hidden)


def _aligned(count: int) -> int:
    return (count + 63) // 64 * 64

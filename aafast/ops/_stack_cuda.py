"""The CUDA stack of convolutions, on tensors."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError, describe
from . import _arena, _native
from ._stack import FusedStack, StackGradients, StackShape, StackWeights, planes

ARITHMETIC = {"fast": "half", "tf32": "tf32", "strict": "single"}
_ALIGNED = 256  # bytes; where the native code wants its memory to start


@functools.lru_cache(maxsize=64)
def _native_stack(shape: StackShape) -> Any:
    module, reason = _native.load()
    if module is None or not module.with_cuda:
        reason = reason or "aafast was built without CUDA"
        raise BackendError(describe("CUDA stack of convolutions", reason, "a module with CUDA", "Use backend='auto'"))
    return module.CudaStack(list(shape.channels), list(shape.normed), shape.groups, ARITHMETIC[shape.precision])


class CudaStack(FusedStack):
    """The stack in half, TF32 or single arithmetic between float32 images; packed weights and scratch are bytes."""

    def __init__(self, shape: StackShape, dtype: torch.dtype) -> None:
        if dtype != torch.float32:
            raise ValueError(f"the CUDA stack takes float32 images, not {str(dtype).removeprefix('torch.')}")
        self.shape, self.dtype = shape, dtype
        self.native = _native_stack(shape)

    def pack(self, weights: tuple[Tensor, ...], adjoint: bool, name: str | None = None) -> Tensor:
        sets = len(weights[0])
        packed = device_bytes(name, (sets, self.native.packed_size(adjoint)), weights[0].device)
        weights = tuple(weight.contiguous() for weight in weights)
        addresses = [weight.data_ptr() for weight in weights]
        self.native.pack(addresses, sets, adjoint, *_native.where(weights[0]), packed.data_ptr())
        return packed

    def saved(
        self, batch: int, height: int, width: int, name: str | None = None, device: torch.device = _arena.CPU
    ) -> Tensor:
        return device_bytes(name, (batch, self.native.saved_size(height, width)), device)

    def forward(
        self,
        images: tuple[Tensor, ...],
        weights: StackWeights,
        out: Tensor,
        saved: Tensor | None = None,
        begin: int = 0,
        status: Tensor | None = None,
    ) -> None:
        batch, _, height, width = out.shape
        size = self.native.forward_workspace(height, width, batch, saved is not None)
        workspace = device_bytes("workspace", (size,), out.device)
        with _NamedFailure("forward pass of the CUDA stack"):
            self.native.forward(
                height, width, batch, planes(images, begin), weights.rows(begin), _native.address(status),
                *_native.where(out), _native.address(saved), workspace.data_ptr(), out.data_ptr(),
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
        batch, _, height, width = d_out.shape
        size = self.native.backward_workspace(height, width, batch, gradients is not None)
        workspace = device_bytes("workspace", (size,), d_out.device)
        with _NamedFailure("backward pass of the CUDA stack"):
            self.native.backward(
                height, width, batch, planes(images, begin), weights.rows(begin), d_out.data_ptr(),
                saved.data_ptr(), loss_scale(scale), _native.address(status), *_native.where(d_out),
                workspace.data_ptr(), _native.address(d_in), [] if gradients is None else gradients.addresses(),
            )


def loss_scale(scale: float) -> float:
    """The power of two that brings gradients of the size `scale` near 1: those of a mean vanish in 16 bits."""
    return 2.0 ** round(-math.log2(scale)) if scale > 0 else 1.0


class _NamedFailure:
    """Turn a refused launch into a BackendError that names what was launched."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError) and not isinstance(error, torch.cuda.OutOfMemoryError):
            raise BackendError(
                describe(self.what, error, "its launch to be accepted", "Use backend='eager', and report it")
            ) from error


def device_bytes(name: str | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Uninitialised bytes that start where the native code wants them, from the arena where they have a name."""
    count = math.prod(shape)
    room = count + _ALIGNED
    if name is None:
        whole = torch.empty(room, dtype=torch.uint8, device=device)
    else:
        whole = _arena.take(name, (room,), torch.uint8, device)
    skip = -whole.data_ptr() % _ALIGNED
    return whole[skip : skip + count].view(shape)

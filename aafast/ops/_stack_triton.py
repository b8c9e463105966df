"""The Triton stack of convolutions, on tensors."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError, describe
from . import _arena, _dispatch
from ._stack import FusedStack, StackGradients, StackShape, StackWeights
from ._stack_cuda import ARITHMETIC, device_bytes, loss_scale


@functools.lru_cache(maxsize=64)
def _triton_stack(shape: StackShape) -> Any:
    if importlib.util.find_spec("triton") is None:
        reason = "the triton package is not installed"
        raise BackendError(
            describe("Triton stack of convolutions", reason, "Triton", 'Install it with: pip install "aafast[triton]"')
        )
    from ..kernels.conv_stack import TritonStack as Kernels

    return Kernels(list(shape.channels), list(shape.normed), shape.groups, ARITHMETIC[shape.precision])


class TritonStack(FusedStack):
    """The stack in half, TF32 or single arithmetic between float32 images, all samples of a batch at once."""

    def __init__(self, shape: StackShape, dtype: torch.dtype) -> None:
        if dtype != torch.float32:
            raise ValueError(f"the Triton stack takes float32 images, not {str(dtype).removeprefix('torch.')}")
        self.shape, self.dtype = shape, dtype
        self.kernels = _triton_stack(shape)

    def pack(self, weights: tuple[Tensor, ...], adjoint: bool, name: str | None = None) -> Tensor:
        device, size = weights[0].device, (len(weights[0]), self.kernels.packed_bytes(adjoint))
        packed = device_bytes(name, size, device)
        with _dispatch.current_device(device):
            return self.kernels.pack([weight.contiguous() for weight in weights], adjoint, packed)

    def saved(
        self, batch: int, height: int, width: int, name: str | None = None, device: torch.device = _arena.CPU
    ) -> Tensor:
        return device_bytes(name, (batch, self.kernels.saved_bytes(height, width)), device)

    def forward(
        self,
        images: tuple[Tensor, ...],
        weights: StackWeights,
        out: Tensor,
        saved: Tensor | None = None,
        begin: int = 0,
        status: Tensor | None = None,
    ) -> None:
        workspace = self._workspace(out, backward=False)
        with _dispatch.current_device(out.device):
            self.kernels.forward(
                _from(images, begin), weights.packed, weights.bias, weights.norm_weight, weights.norm_bias, out, saved,
                workspace, status,
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
        workspace = self._workspace(d_out, backward=True)
        with _dispatch.current_device(d_out.device):
            self.kernels.backward(
                _from(images, begin), weights.packed, weights.bias, weights.norm_weight, weights.norm_bias, d_out,
                saved, workspace, loss_scale(scale), status, d_in, gradients,
            )

    def _workspace(self, out: Tensor, backward: bool) -> Tensor:
        batch, _, height, width = out.shape
        size = self.kernels.workspace_bytes(height, width, batch, backward)
        return _arena.take("workspace", (size,), torch.uint8, out.device)


def _from(images: tuple[Tensor, ...], begin: int) -> list[Tensor]:
    return [image if len(image) == 1 else image[begin:] for image in images]

"""The stack of convolutions of each backend."""

from __future__ import annotations

import torch

from ..errors import BackendError
from ._stack import FusedStack, StackShape
from ._stack_cuda import CudaStack
from ._stack_triton import TritonStack

STACKS: dict[str, type[FusedStack]] = {"cpp": FusedStack, "cuda": CudaStack, "triton": TritonStack}


def make_stack(shape: StackShape, dtype: torch.dtype, backend: str) -> FusedStack:
    """The stack of a backend; BackendError or ValueError where it cannot be built so."""
    return STACKS[backend](shape, dtype)


def refusal(shape: StackShape, dtype: torch.dtype, backend: str = "cpp") -> str | None:
    """Why the stack of a backend cannot be built so, or None."""
    try:
        make_stack(shape, dtype, backend)
    except (BackendError, ValueError) as error:
        return str(error)
    return None

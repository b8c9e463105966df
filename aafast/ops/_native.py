"""The native module `aafast._C`: loaded on first use, and a reason where it is missing."""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError, describe

ISA_VARIABLE = "AAFAST_ISA"  # the widest instruction set to use


@functools.cache
def load() -> tuple[ModuleType | None, str]:
    """The module and an empty reason, or None and why it could not be loaded."""
    try:
        module = importlib.import_module("aafast._C")
    except ImportError as error:
        return None, f"the native module aafast._C does not load ({error}); reinstall aafast"
    wanted = os.environ.get(ISA_VARIABLE, "")
    if not module.select_isa(wanted):
        return None, f"{ISA_VARIABLE}={wanted} is none of {', '.join(module.isa_names())}, which run here; unset it"
    return module, ""


def call(function: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call the float32 or float64 variant of a native function; a refused launch becomes BackendError."""
    invoke(f"{function}_{str(dtype).removeprefix('torch.')}", *arguments)


def invoke(function: str, *arguments: Any) -> Any:
    """Call a native function by its whole name; a refused launch becomes BackendError."""
    module, reason = load()
    if module is None:
        raise BackendError(describe(f"function {function}", reason, "a module", "Use backend='eager'"))
    try:
        return getattr(module, function)(*arguments)
    except RuntimeError as error:
        raise BackendError(
            describe(f"function {function}", error, "its launch to be accepted", "Use backend='eager'")
        ) from error


def where(tensor: Tensor) -> tuple[int, int]:
    """Where the CUDA functions run for a tensor: its device, and the stream that torch uses there now."""
    return tensor.get_device(), torch.cuda.current_stream(tensor.device).cuda_stream


def address(tensor: Tensor | None) -> int:
    """Where a tensor lies, 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()

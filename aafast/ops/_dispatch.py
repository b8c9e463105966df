"""Which implementation of an operation runs, decided by device and dtype alone, and why the others do not."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

from ..checks import COMPUTE_DTYPES
from ..errors import BackendError, describe
from . import _native

BACKENDS = ("eager", "cpp", "cuda", "triton")
PREFERENCE = {"cpu": ("cpp", "eager"), "cuda": ("cuda", "triton", "eager")}
VARIABLE = "AAFAST_BACKEND"

Implementations = dict[str, Callable[..., Any]]
_operations: dict[str, Implementations] = {}


class Row(NamedTuple):
    """One line of `backends()`: whether a backend of an operation can run here, and if not, why."""

    op: str
    backend: str
    available: bool
    reason: str


def register(op: str, implementations: Implementations) -> Implementations:
    """Make the implementations of an operation, by name of backend, known to `backends()`."""
    _operations[op] = implementations
    return implementations


@functools.cache
def can_run(backend: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str | None:
    """Why `backend` cannot run on tensors of this device and dtype, or None where it can."""
    if backend not in BACKENDS:
        return f"there is no backend of this name; there are {', '.join(BACKENDS)}"
    if dtype not in COMPUTE_DTYPES:
        return f"it computes in float32 and float64, not {str(dtype).removeprefix('torch.')}"
    return _REASONS[backend](device)


def select(op: str, backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """Name of the backend to run: the one asked for by argument or AAFAST_BACKEND, else the first that can.

    AAFAST_BACKEND speaks to all operations, so one without an implementation of that name chooses as for auto.

    Raises:
        BackendError: the one asked for is unknown or cannot run on this device and dtype.
    """
    asked = os.environ.get(VARIABLE, "auto") if backend == "auto" else backend
    source = f" (asked for by {VARIABLE})" if asked != backend else ""
    if source and asked in BACKENDS and asked not in _operations[op]:
        asked = "auto"
    if asked != "auto":
        if asked not in BACKENDS:
            raise BackendError(
                describe(
                    f"backend of {op}{source}",
                    repr(asked),
                    f"auto, {', '.join(BACKENDS)}",
                    "Use one of these names",
                )
            )
        known = asked in _operations[op]
        reason = can_run(asked, device, dtype) if known else "the operation has no such implementation"
        if reason is not None:
            raise BackendError(
                describe(
                    f"backend {asked} of {op}{source}",
                    reason,
                    "a backend that can run here",
                    "Use backend='auto', or look at aafast.ops.backends()",
                )
            )
        return asked
    for name in PREFERENCE.get(device.type, ()):
        if name in _operations[op] and can_run(name, device, dtype) is None:
            return name
    return "eager"


def backends() -> list[Row]:
    """Every backend of every operation: whether it can run on this machine, and if not, why."""
    rows = []
    for op, implementations in sorted(_operations.items()):
        for backend in implementations:
            device = torch.device("cuda" if backend in ("cuda", "triton") else "cpu")
            reason = can_run(backend, device)
            rows.append(Row(op, backend, reason is None, reason or ""))
    return rows


def _cpp_reason(device: torch.device) -> str | None:
    module, reason = _native.load()
    if module is None:
        return reason
    return None if device.type == "cpu" else f"it runs on CPU tensors, these are on {device}"


def _cuda_reason(device: torch.device) -> str | None:
    module, reason = _native.load()
    if module is None:
        return reason
    if not module.with_cuda:
        return "aafast was built without CUDA (no nvcc, or AAFAST_CUDA=0); reinstall where nvcc is found"
    absent = _device_reason(device)
    if absent is not None:
        return absent
    count, refusal = module.cuda_device_count()
    if count == 0:
        return f"no device for its CUDA runtime ({refusal})"
    major, minor = torch.cuda.get_device_capability(device)
    if not _compiled_for(module.cuda_archs, 10 * major + minor):
        return f"it is compiled for {module.cuda_archs}, this device is {major}{minor}; see AAFAST_ARCHS"
    return None


def _compiled_for(archs: str, capability: int) -> bool:
    """Machine code runs within its generation, with a letter on that device alone, PTX on all later."""
    names = archs.split(";")
    portable = [int(name) for name in names if name.isdigit()]
    exact = [int(name.rstrip("af")) for name in names if not name.isdigit()]
    within = any(capability // 10 == arch // 10 and capability >= arch for arch in portable)
    return capability in exact or within or (bool(portable) and capability >= max(portable))


def _triton_reason(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return 'the triton package is not installed; install it with: pip install "aafast[triton]"'
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return _device_reason(device)


def _device_reason(device: torch.device) -> str | None:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return "torch sees no CUDA device" if built else "this torch is a CPU build, and sees no CUDA device"
    return None if device.type == "cuda" else f"it runs on CUDA tensors, these are on {device}"


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device current for a scope; nothing to do for the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


_REASONS: dict[str, Callable[[torch.device], str | None]] = {
    "eager": lambda _: None,
    "cpp": _cpp_reason,
    "cuda": _cuda_reason,
    "triton": _triton_reason,
}

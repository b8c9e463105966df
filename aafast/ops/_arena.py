"""Working memory of the native operations: kept by each thread from call to call, bounded, given back on request."""

from __future__ import annotations

import math
import threading
import weakref

import torch
from torch import Tensor

KEPT_BYTES = 1 << 30  # by one thread; what does not fit is allocated for one call


class _Buffers(dict[tuple[str, torch.dtype], Tensor]):
    """One thread's buffers; a class of its own, so that other threads may hold it weakly."""

    __hash__ = object.__hash__


_lock = threading.Lock()
_all: weakref.WeakSet[_Buffers] = weakref.WeakSet()


class _Mine(threading.local):
    def __init__(self) -> None:
        self.buffers = _Buffers()
        with _lock:
            _all.add(self.buffers)


_mine = _Mine()


def take(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Uninitialised memory of this shape, the same that the last call of this name had on this thread.

    It must not outlive the operation that took it: what a caller is given is allocated by itself.
    """
    count, key = math.prod(shape), (name, dtype)
    buffer = _mine.buffers.get(key)
    if buffer is None or buffer.numel() < count:
        _mine.buffers.pop(key, None)
        with torch.inference_mode(False):
            buffer = torch.empty(count, dtype=dtype)
        if _bytes(_mine.buffers) + buffer.numel() * buffer.itemsize <= KEPT_BYTES:
            _mine.buffers[key] = buffer
    return buffer[:count].view(shape)


def _bytes(buffers: _Buffers) -> int:
    return sum(buffer.numel() * buffer.itemsize for buffer in list(buffers.values()))


def held_bytes() -> int:
    """Bytes kept by all threads together."""
    with _lock:
        return sum(_bytes(buffers) for buffers in _all)


def release() -> None:
    """Give back what all threads keep; a call that is under way finishes on its own references."""
    with _lock:
        for buffers in _all:
            buffers.clear()

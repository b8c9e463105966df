"""Working memory of the native operations: kept by each thread from call to call, bounded, given back on request."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

KEPT_BYTES = 1 << 30  # by one thread; what does not fit is allocated for one call
CPU = torch.device("cpu")


class Buffers(dict[tuple[str, torch.dtype, torch.device], Tensor]):
    """Buffers by name, dtype and device; a class of its own, so that other threads may hold it weakly."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def bytes(self) -> int:
        return sum(buffer.numel() * buffer.itemsize for buffer in list(self.values()))


_lock = threading.Lock()
_all: weakref.WeakSet[Buffers] = weakref.WeakSet()


class _Mine(threading.local):
    def __init__(self) -> None:
        self.buffers = Buffers()
        self.lent: Buffers | None = None  # by `own`
        self.scope = ""
        with _lock:
            _all.add(self.buffers)


_mine = _Mine()


@contextmanager
def own(buffers: Buffers) -> Iterator[None]:
    """Let this thread take from `buffers`, without a bound, while the scope lasts.

    Work on a device runs after the call that asked for it: what it uses must belong to that work, not to the thread.
    """
    before, _mine.lent = _mine.lent, buffers
    try:
        yield
    finally:
        _mine.lent = before


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Let the names taken here be other names than outside: for work that runs beside other work."""
    before, _mine.scope = _mine.scope, f"{_mine.scope}{name}/"
    try:
        yield
    finally:
        _mine.scope = before


def take(name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device = CPU) -> Tensor:
    """Uninitialised memory of this shape, the same that the last call of this name had on this thread.

    It must not outlive the operation that took it: what a caller is given is allocated by itself.
    """
    count, key = math.prod(shape), (_mine.scope + name, dtype, device)
    lent = _mine.lent
    buffers = _mine.buffers if lent is None else lent
    buffer = buffers.get(key)
    if buffer is None or buffer.numel() < count:
        buffers.pop(key, None)
        with torch.inference_mode(False):
            buffer = torch.empty(count, dtype=dtype, device=device)
        if lent is not None or buffers.bytes() + buffer.numel() * buffer.itemsize <= KEPT_BYTES:
            buffers[key] = buffer
    return buffer[:count].view(shape)


def held_bytes() -> int:
    """Bytes kept by all threads together."""
    with _lock:
        return sum(buffers.bytes() for buffers in _all)


def release() -> None:
    """Give back what all threads keep; a call that is under way finishes on its own references."""
    with _lock:
        for buffers in _all:
            buffers.clear()

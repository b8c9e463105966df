"""Fixtures of the engine's tests."""

from collections.abc import Callable, Iterator

import pytest
import torch

import aafast.engine
from aafast.ops import _arena, _native


@pytest.fixture
def capacities(monkeypatch) -> Iterator[list[int]]:
    """How many samples each solve from now on held at once, at most; the memory limit is put back afterwards."""
    found = []
    stream = aafast.engine.cpu.stream

    def spy(work, config, capacity, *rest):
        found.append(capacity)
        return stream(work, config, capacity, *rest)

    monkeypatch.setattr(aafast.engine.cpu, "stream", spy)
    yield found
    aafast.engine.set_memory_limit(None)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def native():
    """The native module, its instruction set put back afterwards."""
    module, _ = _native.load()
    before = module.selected_isa()
    yield module
    module.select_isa(before)


@pytest.fixture
def spoil() -> Callable[[], int]:
    """Fills the working memory that this thread keeps with NaN, and counts its buffers."""

    def run() -> int:
        buffers = list(_arena._mine.buffers.values())
        for buffer in buffers:
            buffer.fill_(torch.nan)
        return len(buffers)

    return run

"""The least time that a device could take for an operation, from peaks that are measured in the same run.

    floor = max(flops / peak, bytes / bandwidth)

flops: multiplications and additions of the direct method. bytes: every input read once from the device's memory and
every result written once, in the type in which it is stored there. peak: of a large matrix product in the operation's
precision. bandwidth: of a large copy, its reading and its writing both counted. A floor is no promise: what stays in
the L2 cache from one call to the next can beat the bandwidth, and a small kernel's start takes longer than its floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

# What products multiply, by the engine's names of precisions: float16 on tensor cores, TF32 on tensor cores, float32.
PRECISIONS = ("fast", "tf32", "strict")
OPERANDS = {"fast": "float16", "tf32": "TF32", "strict": "float32"}
STORED = {"fast": 2, "tf32": 4, "strict": 4}  # bytes of an activation


class Work(NamedTuple):
    """What an operation cannot do without: multiplications and additions, and bytes from and to memory."""

    flops: float
    bytes: float


class Floor(NamedTuple):
    """Seconds, and what they are for: "products" or "memory"."""

    seconds: float
    bound: str


@dataclass
class Peaks:
    """What this device was seen to reach: flop/s by precision, and bytes/s of its memory."""

    flops: dict[str, float] = field(default_factory=dict)
    bandwidth: float | None = None

    def floor(self, work: Work, precision: str) -> Floor | None:
        """The floor of an operation; None where a peak that it needs was not measured."""
        peak = self.flops.get(precision)
        if self.bandwidth is None or (work.flops and peak is None):
            return None
        products = work.flops / peak if work.flops else 0.0
        memory = work.bytes / self.bandwidth
        return Floor(products, "products") if products > memory else Floor(memory, "memory")


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Let the libraries' float32 products and convolutions be what a precision says: TF32 for "tf32" alone."""
    libraries = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [library.allow_tf32 for library in libraries]
    for library in libraries:
        library.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        for library, value in zip(libraries, before, strict=True):
            library.allow_tf32 = value


def seconds_in_turns(runs: list[Callable[[], object]], device: str, rounds: int) -> list[list[float]]:
    """Seconds of each run in each round, in turns: [round][run].

    On a CUDA device each is captured in a graph, often enough for a millisecond, and timed by events, so that no
    launch from the host is in it; the L2 cache is as the call before has left it.
    """
    timers = [(_graph_timer if device == "cuda" else _wall_timer)(run) for run in runs]
    return [[timer() for timer in timers] for _ in range(rounds)]


def _wall_timer(run: Callable[[], object]) -> Callable[[], float]:
    from time import perf_counter

    def timer() -> float:
        begin = perf_counter()
        run()
        return perf_counter() - begin

    run()
    return timer


def _graph_timer(run: Callable[[], object]) -> Callable[[], float]:
    alone = _captured(run, 1)
    calls = max(1, min(200, round(1e-3 / min(_replayed(alone) for _ in range(5)))))
    graph = alone if calls == 1 else _captured(run, calls)
    return lambda: _replayed(graph) / calls


def _captured(run: Callable[[], object], calls: int) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is chosen or allocated at first use is
        run()
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def _replayed(graph: torch.cuda.CUDAGraph) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3

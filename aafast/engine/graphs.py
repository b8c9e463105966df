"""How the iterations of a solve are launched: one captured graph that loops on the device, or the next best thing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..config import FixedPointConfig
from ..errors import BackendError, describe
from ..ops import _native
from ..solvers.progress import POLL_OTHER as POLL

UNROLLED = 8  # iterations of a fixed number that become one graph without a loop


class Side:
    """A second stream for work that runs beside that of the current one, captured along with it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream, self.busy = device, torch.cuda.Stream(device), False

    @contextlib.contextmanager
    def branch(self) -> Iterator[None]:
        """What is launched in this scope waits for all that was launched before it, and for nothing after."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        self.busy = True
        with torch.cuda.stream(self.stream):
            yield

    def join(self) -> None:
        """Let the current stream wait for the branch."""
        if self.busy:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
            self.busy = False


class Launcher:
    """Runs `prologue`, then `iteration` until no status is 0, at most `config.max_iter` times.

    Both work in place on memory that stays where it is, and wait for nothing. On a CUDA device they are captured once:
      loop    a graph with a WHILE node, its body the iteration: one launch, the device counts and stops
      chain   a fixed small number of iterations in a row, in one graph with the prologue
      replay  where the driver has no WHILE nodes: the iteration's graph again and again, and a look at flags that the
              device left in host memory; iterations past the last stop change nothing
    Elsewhere (a CPU that stands in for a device) they are called.
    """

    def __init__(
        self,
        prologue: Callable[[], None],
        iteration: Callable[[], None],
        status: Tensor,
        config: FixedPointConfig,
    ) -> None:
        self.prologue, self.iteration, self.status, self.config = prologue, iteration, status, config
        self.device = status.device
        self.side = Side(self.device) if self.device.type == "cuda" else None
        self.kind, self.bytes = "", 0
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._loop = 0
        self._turns = torch.zeros(1, dtype=torch.int32, device=self.device)

    def run(self) -> None:
        """Launch one solve on the current stream; the host waits for nothing, but in the third way for flags."""
        if self.device.type != "cuda":
            self._call()
            return
        if not self.kind:
            self._capture()
        stream = torch.cuda.current_stream(self.device)
        for graph in self._graphs if self.kind != "replay" else self._graphs[:1]:
            graph.replay()
        if self.kind == "loop":
            _native.invoke("graph_while_launch", self._loop, stream.cuda_stream)
        elif self.kind == "replay":
            self._replay(self._graphs[1], stream)

    def _call(self) -> None:
        self.prologue()
        for turn in range(self.config.max_iter):
            self.iteration()
            if (turn + 1) % POLL == 0 and not (self.status == 0).any():
                break

    def _capture(self) -> None:
        if torch.cuda.is_current_stream_capturing():
            raise BackendError(
                describe("first solve of this shape", "a call inside another capture", "a call outside of it first",
                         "Call the model once before the capture: its graph is then launched from yours")
            )
        before = torch.cuda.memory_allocated(self.device)
        with torch.cuda.device(self.device):
            warm = torch.cuda.Stream(self.device)
            warm.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(warm):
                # Once outside a capture: libraries make their handles, working memory finds its place.
                self.prologue()
                self.iteration()
            torch.cuda.current_stream(self.device).wait_stream(warm)
            self.kind = self._choose()
            if self.kind == "chain":
                self._graphs = [self._captured(self.prologue, *(self.iteration,) * self.config.max_iter)]
            else:
                body = self._captured(self.iteration, keep=self.kind == "loop")
                self._graphs = [self._captured(self.prologue)]
                if self.kind == "loop":
                    self._body = body  # its memory belongs to it
                    self._loop = _native.invoke(
                        "graph_while_build", body.raw_cuda_graph(), self.status.data_ptr(), len(self.status),
                        self._turns.data_ptr(), self.config.max_iter, self.status.get_device(),
                    )
                else:
                    self._graphs.append(body)
        self.bytes = max(0, torch.cuda.memory_allocated(self.device) - before)

    def _choose(self) -> str:
        if self.config.tol == 0 and self.config.max_iter <= UNROLLED:
            return "chain"
        reason = _native.invoke("graph_while_supported", self.status.get_device())
        return "replay" if reason else "loop"

    def _captured(self, *parts: Callable[[], None], keep: bool = False) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph(keep_graph=keep)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            for part in parts:
                part()
        return graph

    def _replay(self, body: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> None:
        running = torch.ones(1, dtype=torch.bool).pin_memory()
        looked = torch.cuda.Event()
        for turn in range(self.config.max_iter):
            body.replay()
            if (turn + 1) % POLL == 0 and self.config.tol > 0:
                if turn >= POLL:
                    looked.synchronize()  # the flags of POLL iterations ago: the device has work meanwhile
                    if not running.item():
                        return
                running.copy_((self.status == 0).any(), non_blocking=True)
                looked.record(stream)

    def __del__(self) -> None:
        if self._loop:
            with contextlib.suppress(Exception):
                _native.invoke("graph_while_destroy", self._loop)

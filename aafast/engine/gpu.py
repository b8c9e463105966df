"""The engines of a CUDA device: whole solves on the CUDA kernels in one captured loop, or on the Triton kernels."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict

import torch
from torch import Tensor

from ..adaptive import engines
from ..adaptive.models import Model
from ..errors import BackendError, describe
from ..ops import _arena, can_run
from ..physics import ForwardModel, GivenForwardModel
from ..solvers import Solution, iterate, join
from .loop import DeviceLoop, reason_against_loop
from .plan import Plan, plan_of, reason_against
from .replica import kind_of
from .step import AdaptiveWork, PlainWork

KEPT_LOOPS = 4  # of a plan: shapes that come back find theirs ready

_lock = threading.Lock()
_loops: weakref.WeakKeyDictionary[Plan, OrderedDict[object, DeviceLoop]] = weakref.WeakKeyDictionary()


class GpuEngine:
    """Solves a checked batch on CUDA tensors with the model's own rules; see aafast.adaptive.engines.Engine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refusal(self, model: Model, y: Tensor, A0: ForwardModel) -> str | None:
        against = can_run(self.name, y.device, y.dtype)
        if against is not None:
            return against
        if isinstance(A0, GivenForwardModel) and not A0.linear and hasattr(model, "residual"):
            return "A0 is not linear, and the gradient through it needs autograd"
        return reason_against(model, y.dtype, self.name)

    @torch.no_grad()
    def solve(self, model: Model, y: Tensor, A0: ForwardModel) -> Solution:
        shared = hasattr(model, "residual") and model.config.theta_scope == "batch"
        return self._in_parts(model, y, A0, len(y), shared)

    def _in_parts(self, model: Model, y: Tensor, A0: ForwardModel, size: int, shared: bool) -> Solution:
        """Solve `size` samples at a time, fewer where the device's memory asks for it."""
        while True:
            try:
                parts = [
                    self._solve(model, *_part(y, A0, begin, min(begin + size, len(y))))
                    for begin in range(0, len(y), size)
                ]
            except torch.cuda.OutOfMemoryError as error:
                release_loops()
                torch.cuda.empty_cache()
                if size == 1 or shared:
                    raise BackendError(
                        describe(
                            f"memory of {y.device}", f"too little for {size} sample(s) of {list(y.shape[1:])}",
                            "room for the batch" if shared else "room for one sample",
                            "Solve smaller images, or on the CPU",
                        )
                    ) from error
                size = (size + 1) // 2
                continue
            return parts[0] if len(parts) == 1 else join(parts)

    def _solve(self, model: Model, y: Tensor, A0: ForwardModel) -> Solution:
        plan = plan_of(model, self.name)
        if self.name == "cuda" and reason_against_loop(model, A0) is None:
            return _loop_of(model, plan, y, A0).solve(model, y, A0)
        config, keep = model.outer()
        work = (AdaptiveWork if hasattr(model, "residual") else PlainWork)(model, plan, y, A0)
        index = torch.arange(len(y))
        with _arena.own(_arena.Buffers()):
            x0, aux = work.start(index.to(y.device))
            solution = iterate(
                lambda x, state: work.step(index, x, state), x0, aux, config, keep, backend=model.backend
            )
        return model.finish(solution, A0)


def _part(y: Tensor, A0: ForwardModel, begin: int, end: int) -> tuple[Tensor, ForwardModel]:
    if (begin, end) == (0, len(y)):
        return y, A0
    return y[begin:end].contiguous(), A0.take(torch.arange(begin, end, device=y.device))


def _loop_of(model: Model, plan: Plan, y: Tensor, A0: ForwardModel) -> DeviceLoop:
    key = (tuple(y.shape), kind_of(A0), model.config, model.outer())
    with _lock:
        loops = _loops.setdefault(plan, OrderedDict())
        found = loops.get(key)
        if found is None or not found.fits(A0):
            found = loops[key] = DeviceLoop(model, plan, y, A0)
        loops.move_to_end(key)
        while len(loops) > KEPT_LOOPS:
            loops.popitem(last=False)
    return found


def loop_bytes() -> int:
    """Bytes that loops hold on devices."""
    with _lock:
        return sum(loop.bytes for loops in _loops.values() for loop in loops.values())


def release_loops() -> None:
    """Give the loops' memory back; a solve that is under way finishes on its own references."""
    with _lock:
        _loops.clear()


engines.register(GpuEngine("cuda"))
engines.register(GpuEngine("triton"))

"""Whole solves without autograd: plans of a model, the loop that lets finished samples leave, loops on a device."""

import torch

from ..ops import Row, _arena, can_run
from . import cpu, gpu  # noqa: F401  they register themselves with the models
from .gpu import loop_bytes, release_loops
from .memory import set_memory_limit
from .plan import plan_bytes, release_plans


def engines() -> list[Row]:
    """Each engine of whole solves: whether it can run on this machine, and if not, why."""
    found = []
    for name, device in (("cpp", "cpu"), ("cuda", "cuda"), ("triton", "cuda")):
        reason = can_run(name, torch.device(device))
        found.append(Row("solve", name, reason is None, reason or ""))
    return found


def held_bytes() -> int:
    """Bytes that plans, captured loops and working memory hold, on the CPU and on devices."""
    return plan_bytes() + loop_bytes() + _arena.held_bytes()


def release() -> None:
    """Give plans, captured loops and working memory back; the next solve builds what it needs."""
    release_loops()
    release_plans()
    _arena.release()


__all__ = ["engines", "held_bytes", "release", "set_memory_limit"]

"""Whole solves without autograd: plans of a model, the loop that lets finished samples leave, loops on a device."""

from ..ops import _arena
from . import cpu, gpu  # noqa: F401  they register themselves with the models
from .gpu import loop_bytes, release_loops
from .memory import set_memory_limit
from .plan import plan_bytes, release_plans


def held_bytes() -> int:
    """Bytes that plans, captured loops and working memory hold, on the CPU and on devices."""
    return plan_bytes() + loop_bytes() + _arena.held_bytes()


def release() -> None:
    """Give plans, captured loops and working memory back; the next solve builds what it needs."""
    release_loops()
    release_plans()
    _arena.release()


__all__ = ["held_bytes", "release", "set_memory_limit"]

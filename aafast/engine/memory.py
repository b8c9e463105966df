"""How many samples a solve holds at once."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from ..adaptive.models import Model
from ..adaptive.step import Aux
from ..errors import InputError, describe
from ..ops._stack import FusedStack
from .plan import Plan

_SHARE = 0.5  # of the memory that the machine has left
_limit: int | None = None


def set_memory_limit(limit: int | None) -> None:
    """Let a solve hold at most `limit` bytes (None: half of what the machine has left) by cutting its batch."""
    global _limit
    if limit is not None and limit <= 0:
        raise InputError(describe("memory limit", limit, "a positive number of bytes, or None", "Raise it"))
    _limit = limit


def budget() -> int:
    """Bytes that a solve may hold."""
    if _limit is not None:
        return _limit
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(_SHARE * int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError):
        pass
    try:
        return int(_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return 1 << 32


def _stack_bytes(stack: FusedStack, height: int, width: int) -> int:
    """Working memory of a forward pass with a sample on each thread."""
    threads = torch.get_num_threads()
    need = stack.native.forward_workspace(height, width, threads, threads, False)
    return need * torch.empty((), dtype=stack.dtype).itemsize


def capacity(model: Model, plan: Plan, y: Tensor, start: Aux) -> int:
    """Samples that fit `budget` together, at least one: fixed working memory, then what each sample adds.

    start: the state of one sample. A sample's memory is its images, each held for the iterate, its image and the best
    one, twice the window of the fixed-point solver, and its theta and moments, held for the newest and the best.
    """
    config = model.outer()[0]
    image = y[0].numel() * y.itemsize
    window = 2 * config.m if config.name != "picard" else 0
    state = sum(value.numel() * value.itemsize for name, value in start.items() if name != "z")
    each = image * (12 + window) + 3 * state
    height, width = y.shape[2:]
    fixed = _stack_bytes(plan.prox, height, width)
    if "z" in start:
        fixed *= 3  # the mismatch network's forward and backward pass, and what it keeps between them
    return max(1, min(len(y), (budget() - fixed) // max(1, each)))

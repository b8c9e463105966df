"""What the ops suite times on a CUDA device against its floor: an entry each, as in op_table.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from aafast.bench.floors import PRECISIONS, Work

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Program:
    """One contestant of a case, ready to run.

    result: what it computes; want: the same in float64, by the oracle. The case's time is the sum of share times
    seconds over `runs`: a part of a whole is the difference of what takes it twice and once.
    """

    result: Callable[[], Tensors]
    want: Callable[[], Tensors]
    runs: tuple[Callable[[], object], ...]
    shares: tuple[float, ...] = (1.0,)


class Inputs(Protocol):
    """What an operation is given."""

    def to(self, device: str) -> Inputs:
        """The same on a device."""


@dataclass(frozen=True)
class DeviceOp:
    """An operation on a device.

    shape: [B, C, H, W], of the wide image where there is one. small: of --quick. inputs: of a shape, from a
    generator, on the CPU in float32. work: of one call, by shape and bytes of a stored value.
    program: of a backend and precision, from the inputs on the device. backends: who has it, and in which precisions.
    tolerance: by precision, of the largest relative error (2-norm) of a result.
    """

    name: str
    shape: tuple[int, int, int, int]
    small: tuple[int, int, int, int]
    inputs: Callable[[tuple[int, ...], torch.Generator], Inputs]
    work: Callable[[tuple[int, ...], int], Work]
    program: Callable[[Any, str, str], Program]
    backends: dict[str, tuple[str, ...]]
    tolerance: dict[str, float]


EVERY = dict.fromkeys(("eager", "cuda", "triton"), PRECISIONS)


def device_ops() -> tuple[DeviceOp, ...]:
    """All of them, in the order of their rows."""
    from aafast.bench.device_pointwise import POINTWISE_OPS
    from aafast.bench.device_stacks import STACK_OPS

    return (*STACK_OPS, *POINTWISE_OPS)

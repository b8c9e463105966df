"""Public operations: functional, differentiable, compilable, run by the best backend for their tensors."""

from ._dispatch import BACKENDS, Row, backends, can_run, select
from .anderson_mix import anderson_mix
from .z_step import z_step

__all__ = ["BACKENDS", "Row", "anderson_mix", "backends", "can_run", "select", "z_step"]

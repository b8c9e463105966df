"""Public operations: functional, differentiable, compilable, run by the best backend for their tensors."""

from ._dispatch import BACKENDS, Row, backends, can_run, select
from ._stack import PRECISIONS
from .anderson_mix import anderson_mix
from .conv_stack import conv_stack
from .correlate_planes import correlate_planes, correlate_separable
from .correlate_time import correlate_time, correlate_time_kernel
from .z_step import z_step

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Row",
    "anderson_mix",
    "backends",
    "can_run",
    "conv_stack",
    "correlate_planes",
    "correlate_separable",
    "correlate_time",
    "correlate_time_kernel",
    "select",
    "z_step",
]

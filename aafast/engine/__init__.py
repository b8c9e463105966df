"""Whole solves without autograd: plans of a model, and the loop that lets finished samples leave."""

from . import cpu  # noqa: F401  registers itself with the models
from .memory import set_memory_limit
from .plan import held_bytes, release

__all__ = ["held_bytes", "release", "set_memory_limit"]

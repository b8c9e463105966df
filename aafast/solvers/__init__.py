"""Fixed-point solvers: one loop, Anderson and Picard proposals, and four ways to differentiate through them."""

from .anderson import Anderson
from .base import Solution, Status, join
from .fixed_point import anderson
from .iterate import iterate
from .picard import Picard

__all__ = ["Anderson", "Picard", "Solution", "Status", "anderson", "iterate", "join"]

"""Fixed-point solvers: one loop, four kinds of proposals, and four ways to differentiate through them."""

from .anderson import Anderson
from .base import Solution, Status, join
from .broyden import Broyden
from .fixed_point import anderson
from .iterate import iterate, make_solver
from .momentum import Momentum
from .picard import Picard
from .progress import Progress

__all__ = [
    "Anderson",
    "Broyden",
    "Momentum",
    "Picard",
    "Progress",
    "Solution",
    "Status",
    "anderson",
    "iterate",
    "join",
    "make_solver",
]

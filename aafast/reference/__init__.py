"""The authors' iteration, quirks included: the oracle of every operation, the baseline of every benchmark."""

from aafast.reference.adaptive_deq import AdaptiveDEQ
from aafast.reference.adaptive_lu import AdaptiveLU
from aafast.reference.anderson import anderson, picard
from aafast.reference.build import build, problem
from aafast.reference.robust_lu import RobustLU

__all__ = ["AdaptiveDEQ", "AdaptiveLU", "RobustLU", "anderson", "build", "picard", "problem"]

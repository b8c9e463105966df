"""aafast: fast, checked A-adaptive model-based solvers for inverse problems with a wrong forward model."""

from . import engine
from .adaptive import AdaptiveDEQ, AdaptiveLU, DirectInverse, RobustLU
from .ops import backends
from .physics import GaussianBlur, Haze, WaveletConvolution
from .reconstruct import reconstruct
from .solvers import Solution, anderson
from .tasks import build, load, save

__version__ = "0.1.0"

__all__ = [
    "AdaptiveDEQ",
    "AdaptiveLU",
    "DirectInverse",
    "GaussianBlur",
    "Haze",
    "RobustLU",
    "Solution",
    "WaveletConvolution",
    "anderson",
    "backends",
    "build",
    "engine",
    "load",
    "reconstruct",
    "save",
]

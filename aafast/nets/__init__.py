"""Networks: the proximal network, the mismatch networks, spectral normalisation."""

from .prox import ProximalNetwork
from .residual import MismatchNetwork, build_residual

__all__ = ["MismatchNetwork", "ProximalNetwork", "build_residual"]

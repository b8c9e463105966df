"""Networks: the proximal network, the mismatch networks, spectral normalisation."""

from .calibration import CalibrationNetwork
from .prox import ProximalNetwork
from .residual import MismatchNetwork, build_residual

__all__ = ["CalibrationNetwork", "MismatchNetwork", "ProximalNetwork", "build_residual"]

"""Forward models: blur, wavelet convolution, haze, and any object with `A` and `A_adjoint`."""

from .base import ForwardModel, GivenForwardModel, as_forward_model
from .blur import GaussianBlur, gaussian_kernel
from .haze import Haze
from .wavelet import WaveletConvolution

__all__ = [
    "ForwardModel",
    "GaussianBlur",
    "GivenForwardModel",
    "Haze",
    "WaveletConvolution",
    "as_forward_model",
    "gaussian_kernel",
]

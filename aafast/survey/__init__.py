"""From a survey on disk to a reconstruction on disk."""

from .section import SectionResult, reconstruct_section
from .wavelet import Wavelet, estimate_wavelet, make_wavelet, parse_wavelet, ricker

__all__ = [
    "SectionResult",
    "Wavelet",
    "estimate_wavelet",
    "make_wavelet",
    "parse_wavelet",
    "reconstruct_section",
    "ricker",
]

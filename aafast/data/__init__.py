"""Data: seismic sections, wavelets right and wrong, noise, pairs, lines; images and scenes; image data sets."""

from .line import Line, synthetic_line
from .mismatch import LEVELS, BlurMismatch, HazeMismatch, Mismatch, WaveletError, mismatch_level
from .pairs import SeismicBatch, seismic_pairs
from .reflectivity import reflectivity_column, reflectivity_section
from .wavelets import WaveletSpec, normalise, ormsby, random_spec, random_wavelet, ricker, rotate

__all__ = [
    "LEVELS",
    "BlurMismatch",
    "HazeMismatch",
    "Line",
    "Mismatch",
    "SeismicBatch",
    "WaveletError",
    "WaveletSpec",
    "mismatch_level",
    "normalise",
    "ormsby",
    "random_spec",
    "random_wavelet",
    "reflectivity_column",
    "reflectivity_section",
    "ricker",
    "rotate",
    "seismic_pairs",
    "synthetic_line",
]

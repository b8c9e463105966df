"""Synthetic seismic data: reflectivity like that of wells, wavelets right and wrong, noise, pairs, lines."""

from .line import Line, synthetic_line
from .mismatch import LEVELS, Mismatch, WaveletError, mismatch_level
from .pairs import PairStream, SeismicBatch, seismic_pairs
from .reflectivity import reflectivity_column, reflectivity_section
from .wavelets import WaveletSpec, normalise, ormsby, random_spec, random_wavelet, ricker, rotate

__all__ = [
    "LEVELS",
    "Line",
    "Mismatch",
    "PairStream",
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

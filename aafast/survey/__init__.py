"""From a survey on disk to a reconstruction on disk."""

from .calibrate import calibrate_wavelet
from .dataset import reconstruct_dataset
from .outcome import RunResult
from .pipeline import run
from .section import SectionResult, reconstruct_section
from .solver import load_solver
from .synth import SyntheticSurvey, write_survey
from .wavelet import Wavelet, estimate_wavelet, make_wavelet, ricker
from .wavelet_file import parse_wavelet

__all__ = [
    "RunResult",
    "SectionResult",
    "SyntheticSurvey",
    "Wavelet",
    "calibrate_wavelet",
    "estimate_wavelet",
    "load_solver",
    "make_wavelet",
    "parse_wavelet",
    "reconstruct_dataset",
    "reconstruct_section",
    "ricker",
    "run",
    "write_survey",
]

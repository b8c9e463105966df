"""Metrics with stated peak, range and scale, and the baselines to stand against."""

from .baselines import BaselineSettings, fista, tune, wiener
from .metrics import compare, correlation, fit_scale, psnr, quality, snr, ssim

__all__ = [
    "BaselineSettings",
    "compare",
    "correlation",
    "fista",
    "fit_scale",
    "psnr",
    "quality",
    "snr",
    "ssim",
    "tune",
    "wiener",
]

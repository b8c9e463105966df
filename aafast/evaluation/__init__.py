"""Metrics with stated peak, range and scale, classical methods to stand against, and scores of all as rows."""

from .baselines import BaselineSettings, fista, tune, wiener
from .images import dark_channel, invert_haze, tikhonov, wiener_image
from .metrics import compare, correlation, fit_scale, mse, psnr, quality, snr, ssim
from .scoring import PairSet, evaluate

__all__ = [
    "BaselineSettings",
    "PairSet",
    "compare",
    "correlation",
    "dark_channel",
    "evaluate",
    "fista",
    "fit_scale",
    "invert_haze",
    "mse",
    "psnr",
    "quality",
    "snr",
    "ssim",
    "tikhonov",
    "tune",
    "wiener",
    "wiener_image",
]

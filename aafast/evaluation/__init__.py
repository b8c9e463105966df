"""Metrics with stated peak, range and scale, and the baselines to stand against."""

from .metrics import compare, correlation, fit_scale, psnr, quality, snr, ssim

__all__ = ["compare", "correlation", "fit_scale", "psnr", "quality", "snr", "ssim"]

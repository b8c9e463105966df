"""Seismic deconvolution: one channel, a wavelet as forward model, a wavelet correction as mismatch."""

from __future__ import annotations

from typing import Any

IMAGE_CHANNELS = 1
DEPTH = 9
RESIDUAL = "wavelet"
ETA = {"robust-lu": 0.01, "adaptive-lu": 0.01, "adaptive-deq": -1.0}
PENALTIES = {"adaptive-lu": {"gamma": 0.01, "lam": 0.1}, "adaptive-deq": {"gamma": 0.01, "lam": 0.01}}
DEQ: dict[str, Any] = {"offset": "subtract"}
FIXED_POINT: dict[str, Any] = {}

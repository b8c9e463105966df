"""Defogging: three channels, the identity as nominal model, transmission and airlight networks as mismatch."""

from __future__ import annotations

from typing import Any

IMAGE_CHANNELS = 3
DEPTH = 7
RESIDUAL = "haze"
ETA = {"robust-lu": -1.0, "adaptive-lu": -5.0, "adaptive-deq": -1.0}
PENALTIES = {"adaptive-lu": {"gamma": 1e-4, "lam": 0.1}, "adaptive-deq": {"gamma": 0.0, "lam": 0.01}}
DEQ: dict[str, Any] = {"offset": "subtract"}
FIXED_POINT: dict[str, Any] = {"name": "picard", "max_iter": 30}

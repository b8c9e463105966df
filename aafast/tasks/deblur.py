"""Image deblurring: three channels, a Gaussian blur as forward model, a convolutional mismatch."""

from __future__ import annotations

from typing import Any

IMAGE_CHANNELS = 3
DEPTH = 5
RESIDUAL = "conv"
ETA = {"robust-lu": -1.0, "adaptive-lu": 0.01, "adaptive-deq": -1.0}
# The paper's appendix prints these two the other way round; these are the values of the published scripts.
PENALTIES = {"adaptive-lu": {"gamma": 0.01, "lam": 0.1}, "adaptive-deq": {"gamma": 0.01, "lam": 0.1}}
DEQ: dict[str, Any] = {"offset": "residual"}
FIXED_POINT: dict[str, Any] = {}

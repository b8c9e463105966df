"""How far a forward model is from the true one, in the parameter that is uncertain in each task."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..errors import InputError, describe
from ..physics import ForwardModel, GaussianBlur, Haze, WaveletConvolution
from .metrics import correlation

# What each task measures: its name, and whether larger is nearer to the truth.
MEASURES = {
    "deconv": ("wavelet correlation", True),
    "deblur": ("kernel correlation", True),
    "defog": ("|beta error|", False),
}
PERCENTILES = (10, 50, 90)


def nearness(model: ForwardModel, true: ForwardModel, batch: int) -> np.ndarray:
    """The task's measure per sample [B]: the correlation `<a, b> / (|a| |b|)` of wavelets or of blur kernels (1 is
    perfect), or |beta - beta_true| of haze (0 is perfect), in the unit of 1 / depth.

    Wavelets and kernels may differ in length: the shorter one is padded with zeros. Raises InputError where the two
    are of different kinds.
    """
    if isinstance(model, WaveletConvolution) and isinstance(true, WaveletConvolution):
        return _correlation(_array(model.wavelet), _array(true.wavelet), batch)
    if isinstance(model, GaussianBlur) and isinstance(true, GaussianBlur):
        return _correlation(_array(model.kernel), _array(true.kernel), batch)
    if isinstance(model, Haze) and isinstance(true, Haze):
        found, wanted = (np.broadcast_to(_array(m.beta).reshape(-1), batch) for m in (model, true))
        return np.abs(found - wanted)
    raise InputError(
        describe(
            "forward models to compare",
            f"{type(model).__name__} and {type(true).__name__}",
            "two wavelets, two blurs or two hazes",
            "Compare models of one kind",
        )
    )


def distribution(values: np.ndarray) -> dict[str, float]:
    """Mean and the 10th, 50th and 90th percentile."""
    tenth, median, ninetieth = np.percentile(values, PERCENTILES)
    return {"mean": float(values.mean()), "p10": float(tenth), "p50": float(median), "p90": float(ninetieth)}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _correlation(a: np.ndarray, b: np.ndarray, batch: int) -> np.ndarray:
    a, b = (np.broadcast_to(part, (batch, *part.shape[1:])) for part in _same_length(a, b))
    return correlation(b, a)


def _same_length(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both padded with zeros, evenly on both sides, to the longer one in every axis but the first."""

    def padded(part: np.ndarray, other: np.ndarray) -> np.ndarray:
        wanted = zip(part.shape[1:], other.shape[1:], strict=True)
        widths = [(max(0, (large - small) // 2),) * 2 for small, large in wanted]
        return np.pad(part, [(0, 0), *widths])

    return padded(a, b), padded(b, a)

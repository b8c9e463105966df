"""Depth from disparity: holes filled, averaged over pixels, turned round."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import require


def shrink_disparity(
    disparity: np.ndarray, valid: np.ndarray, shape: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Mean of the valid disparities in each pixel of a smaller image, holes filled.

    Args:
        disparity: [H, W] float32, in any unit.
        valid: [H, W] bool.
        shape: (h, w) of the smaller image.
        box: left, top, right, bottom of the part that it shows, in pixels of the larger one.

    Returns:
        [h, w] float32; zeros where there is no valid disparity at all.
    """
    library = require("PIL.Image", extra="images")

    def mean(values: np.ndarray) -> np.ndarray:
        image: Any = library.fromarray(np.ascontiguousarray(values, np.float32))
        return np.asarray(image.resize((shape[1], shape[0]), library.Resampling.BOX, box=box))

    share = mean(valid)
    known = share > 1e-3
    total = mean(np.where(valid, disparity, 0))
    return fill_holes(np.where(known, total / np.where(known, share, 1), 0).astype(np.float32), known)


def fill_holes(disparity: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill holes [H, W] from the nearest valid pixels of their row, from the farther thing where there are two.

    What one camera alone sees is hidden from the other by something nearer: it belongs to the background. A row
    without a valid pixel takes the nearest row that has one; with no valid pixel at all, zeros are returned.
    """
    columns = np.arange(disparity.shape[1])
    left = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    right = np.minimum.accumulate(np.where(valid, columns, len(columns))[:, ::-1], axis=1)[:, ::-1]
    infinite = np.float32(np.inf)
    from_left = np.where(left >= 0, np.take_along_axis(disparity, np.maximum(left, 0), 1), infinite)
    from_right = np.where(
        right < len(columns), np.take_along_axis(disparity, np.minimum(right, len(columns) - 1), 1), infinite
    )
    filled = np.where(valid, disparity, np.minimum(from_left, from_right))
    rows = np.flatnonzero(valid.any(1))
    if not len(rows):
        return np.zeros_like(disparity)
    nearest = rows[np.abs(np.arange(len(disparity))[:, None] - rows[None, :]).argmin(1)]
    return filled[nearest]

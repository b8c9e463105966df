"""A smooth gain over a whole section, divided out before the solve and multiplied back after it."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, describe

FLOOR = 0.05  # of the line's median envelope: quieter zones are not lifted to the level of reflections
_SPIKE = 6.0  # times the local mean |d|: louder samples are cut to it, in the envelope only


def smooth_gain(section: np.ndarray, live: np.ndarray, window: tuple[int, int] = (192, 48)) -> np.ndarray:
    """Envelope g [T, X] of a section, too smooth for a wavelet to feel it; section / g has RMS near 1.

    g^2 = S(m d^2) / S(m), S a triple running mean (nearly Gaussian), m the mask of live traces: dead traces
    neither count nor leave holes. Single loud samples are cut first, and g is at least 5 % of its median.
    It is computed once on the whole line, so the gain has no seams and amplitudes keep their ratios.

    section: [T, X] float. live: [X] bool. window: samples and traces of the running mean. Returns float32,
    positive. Raises InputError where no trace is live.
    """
    section = np.asarray(section, np.float32)
    live = np.asarray(live, bool)
    if not live.any():
        raise InputError(describe("section", "only dead traces", "one live trace or more", "Check the input"))
    weight = np.maximum(_smooth(live[None].astype(np.float64), window), 1e-6)  # [1, X]: the same at all times
    size = np.where(live, np.abs(section), 0).astype(np.float64)
    for _ in range(2):  # once more, since the loudest samples raise the first mean that is to cut them
        cap = _SPIKE * _fill(_smooth(size, window) / weight, weight, live)
        np.minimum(size, cap, out=size)
    np.square(size, out=size)
    envelope = np.sqrt(_fill(_smooth(size, window) / weight, weight, live))
    level = float(np.median(envelope[:, live]))
    if level <= 0:  # most of the line is muted: judge by what is not
        level = float(envelope[envelope > 0].mean()) if (envelope > 0).any() else 1.0
    return np.maximum(envelope, FLOOR * level).astype(np.float32)


def _fill(field: np.ndarray, weight: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Copy the nearest live column into columns so far from any live trace that no mean reaches them."""
    empty = weight[0] < 1e-3
    if empty.any():
        known = np.flatnonzero(~empty) if not empty.all() else np.flatnonzero(live)
        field = field[:, nearest(known, live.size)]
    return field


def nearest(known: np.ndarray, size: int) -> np.ndarray:
    """For each of 0..size-1 the closest of the sorted positions `known` (the lower of two as close)."""
    here = np.arange(size)
    above = np.clip(np.searchsorted(known, here), 0, known.size - 1)
    below = np.maximum(above - 1, 0)
    return np.where(np.abs(known[below] - here) <= np.abs(known[above] - here), known[below], known[above])


def _smooth(field: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Three running means along each axis; the ends use what lies inside."""
    for axis, width in enumerate(window):
        for _ in range(3):
            field = _running_mean(field, max(1, width // 2), axis)
    return field


def _running_mean(field: np.ndarray, width: int, axis: int) -> np.ndarray:
    size = field.shape[axis]
    below = np.clip(np.arange(size) - width // 2, 0, size)
    above = np.clip(np.arange(size) + (width + 1) // 2, 0, size)
    shape = [1, 1]
    shape[axis] = size
    total = np.zeros([n + (k == axis) for k, n in enumerate(field.shape)])
    np.cumsum(field, axis=axis, out=total[1:] if axis == 0 else total[:, 1:])
    mean = np.take(total, above, axis=axis)
    mean -= np.take(total, below, axis=axis)
    mean /= (above - below).reshape(shape)
    return np.maximum(mean, 0, out=mean)

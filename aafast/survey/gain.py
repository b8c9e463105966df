"""A smooth gain over a whole section, divided out before the solve and multiplied back after it.

It is measured on cells of 16 samples and kept on nodes 8 traces apart, so that a section is gone through once, in
order and in pieces of any size, and the gain of any of its traces is drawn from the nodes afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, describe

FLOOR = 0.05  # of the line's median envelope: quieter zones are not lifted to the level of reflections
CELL, NODE = 16, 8  # samples of a cell, traces from node to node: a small part of the window
_WIDTHS = (7, 5, 7), (25, 23, 25)  # cells and traces of three running means, odd so that nothing moves
_SPIKE = 6.0  # times the local mean: louder cells are cut to it
_CUTS = 3  # repeated, since the loudest cells raise the first means that are to cut them
_REACH = (_CUTS + 1) * sum(width // 2 for width in _WIDTHS[1])  # traces that a node looks at, to either side
_NODES = 1 << 22  # values of which a median is taken
_EMPTY = 1e-3  # weight below which no live trace is near


@dataclass(frozen=True)
class Gain:
    """The gain of one section [T, X]: its nodes [n, cells] (may be a file in memory), which of them have live traces
    near [n], the section's level and its number of samples."""

    nodes: np.ndarray
    known: np.ndarray
    level: float
    samples: int

    def part(self, first: int, stop: int) -> np.ndarray:
        """The gain [T, stop - first] float32 of traces first to stop - 1; a trace's is the same in any part."""
        place = nearest(np.flatnonzero(self.known), self.known.size)
        traces = np.arange(first, stop)
        left = traces // NODE
        right = np.minimum(left + 1, place.size - 1)
        share = ((traces % NODE) / np.float32(NODE)).astype(np.float32)[:, None]
        low, high = int(left[0]), int(right[-1]) + 1
        needed, back = np.unique(place[low:high], return_inverse=True)
        values = np.maximum(np.asarray(self.nodes[needed]), np.float32(FLOOR * self.level))[back.ravel()]
        cells = values[left - low]
        cells = np.ascontiguousarray((cells + (values[right - low] - cells) * share).T)  # exact between equal nodes
        time = (np.arange(self.samples) - (CELL - 1) / 2) / CELL
        above = np.clip(np.floor(time).astype(np.int64), 0, cells.shape[0] - 1)
        below = np.minimum(above + 1, cells.shape[0] - 1)
        base, gain = cells[above], cells[below]
        gain -= base
        gain *= np.clip(time - above, 0, 1).astype(np.float32)[:, None]
        gain += base
        return gain


def smooth_gain(section: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Envelope g [T, X] of a section, too smooth for a wavelet to feel it; section / g has RMS near 1.

    g^2 = S(m e^2) / S(m), e the RMS of cells of 16 samples, S a triple running mean (nearly Gaussian), m the mask of
    live traces: dead traces neither count nor leave holes. Single loud samples are cut first, and g is at least 5 %
    of its median. It is one field for the whole line, so the gain has no seams and amplitudes keep their ratios.

    section: [T, X] float. live: [X] bool. Returns float32, positive. Raises InputError where no trace is live.
    """
    section, live = np.asarray(section, np.float32), np.asarray(live, bool)
    if not live.any():
        raise InputError(describe("section", "only dead traces", "one live trace or more", "Check the input"))
    parts = list(measure_nodes([(measure_cells(section, live), live)]))
    nodes, known = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Gain(nodes, known, find_level(nodes, known), section.shape[0]).part(0, live.size)


def measure_cells(section: np.ndarray, live: np.ndarray) -> np.ndarray:
    """RMS [cells, X] float64 of cells of 16 samples, zero on dead traces."""
    power = np.where(live, section, np.float32(0)).astype(np.float64)
    np.square(power, out=power)
    starts = np.arange(0, section.shape[0], CELL)
    sizes = np.diff(np.append(starts, section.shape[0]))
    return np.sqrt(np.add.reduceat(power, starts, axis=0) / sizes[:, None])


def measure_nodes(pieces: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Nodes of a section whose cells [cells, X_i] and live masks [X_i] come in pieces, from its first trace on.

    Yields (nodes [n_i, cells] float32, known [n_i]) in order; their values do not depend on how the section is cut.
    """
    cells, live, offset, done = None, np.zeros(0, bool), 0, 0
    for piece, alive, is_last in _with_last(pieces):
        cells = piece if cells is None else np.concatenate([cells, piece], axis=1)
        live = np.concatenate([live, alive])
        ready = offset + live.size - (0 if is_last else _REACH)
        columns = np.arange(-(-done // NODE) * NODE, ready, NODE)
        if not columns.size:
            continue
        weight = _smooth(live[None].astype(np.float64), ((), _WIDTHS[1]))
        chosen = columns - offset
        yield _envelope(cells, weight)[:, chosen].T.astype(np.float32), weight[0, chosen] >= _EMPTY
        done = ready
        drop = max(0, done - _REACH - offset)
        cells, live, offset = cells[:, drop:], live[drop:], offset + drop


def find_level(nodes: np.ndarray, known: np.ndarray) -> float:
    """The median of a section's nodes near live traces; of many, that of an even selection."""
    rows = np.flatnonzero(known)
    values = nodes[rows[:: -(-rows.size * nodes.shape[1] // _NODES)]]
    level = float(np.median(values))
    if level <= 0:  # most of the line is muted: judge by what is not
        level = float(values[values > 0].mean(dtype=np.float64)) if (values > 0).any() else 1.0
    return level


def count_nodes(traces: int) -> int:
    """Nodes of a section of so many traces."""
    return -(-traces // NODE)


def nearest(known: np.ndarray, size: int) -> np.ndarray:
    """For each of 0..size-1 the closest of the sorted positions `known` (the lower of two as close)."""
    here = np.arange(size)
    above = np.clip(np.searchsorted(known, here), 0, known.size - 1)
    below = np.maximum(above - 1, 0)
    return np.where(np.abs(known[below] - here) <= np.abs(known[above] - here), known[below], known[above])


def _with_last(pieces: Iterable[tuple]) -> Iterator[tuple]:
    """The pieces, each with whether it is the last one."""
    iterator = iter(pieces)
    for held in iterator:
        for following in iterator:
            yield *held, False
            held = following
        yield *held, True


def _envelope(cells: np.ndarray, weight: np.ndarray) -> np.ndarray:
    weight = np.maximum(weight, 1e-6)
    size = cells.copy()
    for _ in range(_CUTS):
        np.minimum(size, _SPIKE * _smooth(size) / weight, out=size)
    np.square(size, out=size)
    return np.sqrt(_smooth(size) / weight)


def _smooth(field: np.ndarray, widths: tuple[tuple[int, ...], ...] = _WIDTHS) -> np.ndarray:
    """Three running means along each axis; the ends use what lies inside."""
    for axis, several in enumerate(widths):
        for width in several:
            field = _running_mean(field, width, axis)
    return field


def _running_mean(field: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Means over an odd number of neighbours, added in an order that does not depend on where the field begins."""
    size = field.shape[axis]
    rows = field if axis == 0 else field.T
    before, after = width // 2, width // 2 + 1
    sums = np.zeros((size + width - 1, rows.shape[1]))
    sums[before:before + size] = rows
    total, offset, step = np.zeros((size, rows.shape[1])), 0, 1
    while step <= width:  # sums of 1, 2, 4, ... neighbours; a window is one of each that its width holds
        if width & step:
            total += sums[offset:offset + size]
            offset += step
        if 2 * step <= width:
            sums = sums[:-step] + sums[step:]
        step *= 2
    here = np.arange(size)
    count = np.minimum(here + after, size) - np.maximum(here - before, 0)
    total /= count[:, None]
    return total if axis == 0 else total.T

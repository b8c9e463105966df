"""Which traces of a survey make a section."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FEWEST = 4  # traces that an inline must hold, in the median, before a file counts as 3D
_REPEATED = 0.01  # of the traces: so many may repeat a pair of numbers before these form no grid


@dataclass(frozen=True)
class Section:
    """Traces that are solved together: a 2D line, or one inline of a 3D survey.

    traces: [X] positions in the file, counted from 0. numbers: [X] what the axis shows (CDP, crossline or
    trace).
    """

    title: str
    axis: str
    traces: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True)
class Geometry:
    """All sections of a survey, every trace in exactly one of them. kind: "2D", "3D" or "irregular"."""

    kind: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def find_geometry(inline: np.ndarray, crossline: np.ndarray, cdp: np.ndarray) -> Geometry:
    """Sort traces into sections by the numbers in their headers [N]: inline (189), crossline (193), CDP (21).

    A survey is 3D where both numbers vary, hardly any pair occurs twice and inlines hold several traces; each
    inline is then a section, its traces in file order, whether the file is sorted by inline or by crossline
    and whichever traces are missing. Anything else is one line in file order (old files keep other things
    in these bytes).
    """
    inline, crossline, cdp = (np.asarray(a, np.int64) for a in (inline, crossline, cdp))
    count = inline.size
    lines, size = np.unique(inline, return_counts=True)
    if lines.size < 2 or np.unique(crossline).size < 2:
        return Geometry("2D", (_one_line("line", cdp),))
    pairs = (inline - inline.min()).astype(np.uint64) << np.uint64(32) | (crossline - crossline.min()).astype(np.uint64)
    repeated = count - np.unique(pairs).size
    if repeated > _REPEATED * count or np.median(size) < _FEWEST:
        note = "inline and crossline numbers form no grid: solved as one line in file order"
        return Geometry("irregular", (_one_line("line in file order", cdp),), (note,))
    order = np.argsort(inline, kind="stable")
    cuts = np.cumsum(size)[:-1]
    sections = tuple(
        Section(f"inline {inline[traces[0]]}", "crossline", traces, crossline[traces])
        for traces in np.split(order, cuts)
    )
    notes = (f"{repeated} traces repeat inline and crossline numbers: solved beside the first",) if repeated else ()
    return Geometry("3D", sections, notes)


def _one_line(title: str, cdp: np.ndarray) -> Section:
    traces = np.arange(cdp.size)
    steps = np.diff(cdp)
    if cdp.size > 1 and ((steps > 0).all() or (steps < 0).all()):
        return Section(title, "CDP", traces, cdp)
    return Section(title, "trace", traces, traces + 1)

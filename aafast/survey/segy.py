"""Read a SEG-Y survey: geometry from its headers, samples by position."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FileError, FormatError, describe, require
from .geometry import Geometry, find_geometry
from .layout import TEXT, Layout, inspect
from .text import decode

_CHUNK = 16 << 20  # bytes read at once where only a pass over the file is needed


class Survey:
    """An open SEG-Y file: geometry from its headers, samples by position; a context manager.

    layout: the checked facts. geometry: the sections. text: lines of the text header.
    """

    def __init__(self, path: str | Path, interval: float | None = None):
        self.layout = inspect(path, interval)
        self._file = open_checked(self.layout, self.layout.path, "r")
        with open(self.layout.path, "rb") as handle:
            self.text_header = handle.read(TEXT)
        self.text = decode(self.text_header)
        self.geometry = self._geometry()

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def read(self, traces: np.ndarray) -> np.ndarray:
        """Samples [T, X] float32 of the traces at these positions [X], in the data's units."""
        first, last = int(traces[0]), int(traces[-1])
        raw = self._file.trace.raw
        try:
            if last - first + 1 == traces.size and (np.diff(traces) == 1).all():
                block = raw[first:last + 1]
            else:
                block = np.stack([raw[int(k)] for k in traces])
        except (OSError, RuntimeError) as error:
            raise FileError(describe(f"{self.layout.path}, traces {first + 1} to {last + 1}", error,
                                     "traces that can be read", "Copy the file again")) from error
        return np.ascontiguousarray(block.T, dtype=np.float32)

    def scan(self) -> tuple[np.ndarray, np.ndarray]:
        """One pass over the file: masks [N] of traces that are dead (constant) and bad (NaN or Inf)."""
        count = self.layout.traces
        dead, bad = np.zeros(count, bool), np.zeros(count, bool)
        step = max(1, _CHUNK // (4 * self.layout.samples))
        for first in range(0, count, step):
            here = slice(first, min(first + step, count))
            block = self.read(np.arange(here.start, here.stop))
            bad[here] = ~np.isfinite(block).all(0)
            dead[here] = (block == block[:1]).all(0)
        return dead, bad

    def _geometry(self) -> Geometry:
        inline, crossline, cdp = (self._file.attributes(byte)[:] for byte in (189, 193, 21))
        return find_geometry(inline, crossline, cdp)


def open_checked(layout: Layout, path: Path, mode: str):
    """The file through segyio, which must see what `inspect` saw."""
    segyio = require("segyio", extra="survey")
    try:
        handle = segyio.open(str(path), mode, ignore_geometry=True, endian=layout.endian)
    except (RuntimeError, ValueError, IndexError) as error:
        raise FormatError(describe(f"{layout.path}", error, "a file that segyio can read",
                                   "Check that this is a SEG-Y file")) from error
    seen = handle.tracecount, len(handle.samples), int(handle.format)
    if seen != (layout.traces, layout.samples, layout.format.code):
        handle.close()
        raise FormatError(describe(f"{layout.path}: traces, samples, format", seen,
                                   (layout.traces, layout.samples, layout.format.code),
                                   "The headers contradict each other; rewrite the file"))
    return handle


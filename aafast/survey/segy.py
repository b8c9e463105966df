"""Read a SEG-Y survey: geometry from its headers, samples by position."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import FileError, describe
from .geometry import Geometry, find_geometry
from .layout import TEXT, TRACE, Layout, inspect
from .samples import decode
from .text import decode as decode_text

_CHUNK = 4 << 20  # bytes read at once
_SPARSE = 1 << 14  # bytes from trace to trace above which headers are read one by one
_LOOKS = 64  # places of the samples that go into the identity


class Survey:
    """An open SEG-Y file: geometry from its headers, samples by position; a context manager.

    Every read is bounded by the file's size when it was opened, and a file that shrinks is an error. It may
    be shared by threads, and sent to another process, which opens the file again.
    layout: the checked facts. geometry: the sections. text: lines of the text header.
    """

    layout: Layout
    _geometry: Geometry | None
    _lock: threading.Lock

    def __init__(self, path: str | Path, interval: float | None = None):
        self._open(inspect(path, interval))

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def __reduce__(self):
        return _reopen, (self.layout,)

    def close(self) -> None:
        """Close the file; reading is over."""
        self._file.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self.layout.path

    @property
    def geometry(self) -> Geometry:
        """The sections, from the trace headers; they are read when this is first asked for."""
        with self._lock:
            if self._geometry is None:
                inline, crossline, ensemble = self.headers((189, 193, 21))
                self._geometry = find_geometry(inline, crossline, ensemble)
            return self._geometry

    def read(self, traces: np.ndarray) -> np.ndarray:
        """Samples [T, X] float32 of the traces at these positions [X], in the data's units."""
        traces = np.asarray(traces, np.int64)
        rows = np.empty((traces.size, self.layout.samples), np.float32)
        for places, first, stop in self._runs(traces):
            raw = self._records(first, stop)[:, TRACE:]
            rows[places] = decode(raw, self.layout.format, self.layout.endian)
        return np.ascontiguousarray(rows.T)

    def read_whole(self, traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Headers [X, 240] uint8 and samples [T, X] float32 of the traces at these positions [X], read at once."""
        traces = np.asarray(traces, np.int64)
        headers = np.empty((traces.size, TRACE), np.uint8)
        rows = np.empty((traces.size, self.layout.samples), np.float32)
        for places, first, stop in self._runs(traces):
            raw = self._records(first, stop)
            headers[places] = raw[:, :TRACE]
            rows[places] = decode(raw[:, TRACE:], self.layout.format, self.layout.endian)
        return headers, np.ascontiguousarray(rows.T)

    def decode(self, records: np.ndarray) -> np.ndarray:
        """Samples [T, n] float32 of traces as they stand in the file [n, stride]."""
        rows = decode(np.ascontiguousarray(records[:, TRACE:]), self.layout.format, self.layout.endian)
        return np.ascontiguousarray(rows.T)

    def headers(self, starts: tuple[int, ...]) -> list[np.ndarray]:
        """Numbers [N] int64 of every trace, 4 bytes each from these bytes (counted from 1) of its header."""
        count, stride = self.layout.traces, self.layout.stride
        word = np.dtype(">i4" if self.layout.endian == "big" else "<i4")
        found = [np.empty(count, np.int64) for _ in starts]
        step = 1 if stride > _SPARSE else max(1, _CHUNK // stride)
        for first in range(0, count, step):
            stop = min(first + step, count)
            size = TRACE if step == 1 else (stop - first) * stride
            rows = self._pread(self.layout.data + first * stride, size, first, stop).reshape(stop - first, -1)
            for numbers, start in zip(found, starts, strict=True):
                numbers[first:stop] = np.ascontiguousarray(rows[:, start - 1:start + 3]).view(word)[:, 0]
        return found

    def scan(self) -> tuple[np.ndarray, np.ndarray]:
        """One pass over the file: masks [N] of traces that are dead (constant) and bad (NaN or Inf)."""
        count = self.layout.traces
        dead, bad = np.zeros(count, bool), np.zeros(count, bool)
        step = max(1, _CHUNK // self.layout.stride)
        for first in range(0, count, step):
            here = slice(first, min(first + step, count))
            raw = self._records(here.start, here.stop)[:, TRACE:]
            rows = decode(raw, self.layout.format, self.layout.endian)
            bad[here] = ~np.isfinite(rows).all(1)
            dead[here] = (rows == rows[:, :1]).all(1)
        return dead, bad

    def identity(self) -> str:
        """A digest of the file: its size, everything before the traces, and whole traces at 64 places.

        It takes milliseconds for any size; with the time of the last change beside it, an edit that spares
        all 64 places still shows.
        """
        digest = hashlib.sha256(str(self.layout.size).encode())
        digest.update(self._pread(0, min(self.layout.data, _CHUNK), 0, 0).data)
        places = np.unique(np.linspace(0, self.layout.traces - 1, _LOOKS).round().astype(np.int64))
        for place in places.tolist():
            digest.update(self._records(place, place + 1).data)
        return digest.hexdigest()

    def head(self) -> np.ndarray:
        """Everything before the first trace: bytes uint8."""
        return self._pread(0, self.layout.data, 0, 0)

    def records(self, first: int, stop: int) -> np.ndarray:
        """Traces first to stop - 1 as they stand in the file, header and samples: bytes [n, stride] uint8."""
        return self._records(first, stop)

    def gather(self, traces: np.ndarray) -> np.ndarray:
        """The same of any traces [n]."""
        traces = np.asarray(traces, np.int64)
        rows = np.empty((traces.size, self.layout.stride), np.uint8)
        for places, first, stop in self._runs(traces):
            rows[places] = self._records(first, stop)
        return rows

    def foot(self) -> np.ndarray:
        """Everything after the last trace: bytes uint8."""
        return self._pread(self.layout.size - self.layout.tail, self.layout.tail, 0, 0)

    def _open(self, layout: Layout) -> None:
        self.layout = layout
        self._geometry = None
        self._lock = threading.Lock()
        try:
            self._file = open(layout.path, "rb", buffering=0)
        except OSError as error:
            raise FileError(describe(f"{layout.path}", error.strerror, "a readable SEG-Y file",
                                     "Check the name")) from error
        size = os.fstat(self._file.fileno()).st_size
        if size != layout.size:
            self._file.close()
            raise FileError(describe(f"{layout.path}", f"{size} bytes", f"{layout.size} as before",
                                     "The file has changed; start again with the file at rest"))
        self.text_header = self._pread(0, TEXT, 0, 0).tobytes()
        self.text = decode_text(self.text_header)

    def _runs(self, traces: np.ndarray) -> Iterator[tuple[slice, int, int]]:
        """Consecutive traces that are read at once: places in `traces`, first, stop."""
        count = self.layout.traces
        if traces.size and not (traces.min() >= 0 and traces.max() < count):
            raise FileError(describe(f"{self.layout.path}", f"traces {traces.min() + 1} to {traces.max() + 1}",
                                     f"1 to {count}", "Ask for traces that the file holds"))
        most = max(1, _CHUNK // self.layout.stride)
        cuts = np.flatnonzero(np.diff(traces) != 1) + 1
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), traces.size], strict=True):
            for here in range(start, end, most):
                stop = min(here + most, end)
                first = int(traces[here])
                yield slice(here, stop), first, first + stop - here

    def _records(self, first: int, stop: int) -> np.ndarray:
        stride = self.layout.stride
        raw = self._pread(self.layout.data + first * stride, (stop - first) * stride, first, stop)
        return raw.reshape(stop - first, stride)

    def _pread(self, start: int, size: int, first: int, stop: int) -> np.ndarray:
        """Bytes [size] from byte `start`; the traces are for the error message only."""
        raw = np.empty(size, np.uint8)
        view, done = raw.data, 0
        try:
            while done < size:
                got = os.preadv(self._file.fileno(), [view[done:]], start + done)
                if got == 0:
                    raise OSError(0, f"the file ends at byte {start + done}")
                done += got
        except (OSError, ValueError) as error:
            what = f"{self.layout.path}, traces {first + 1} to {stop}" if stop else f"{self.layout.path}"
            raise FileError(describe(what, getattr(error, "strerror", None) or error,
                                     f"{self.layout.size} bytes that can be read",
                                     "The file has changed or its disk fails; copy it again")) from error
        return raw


def _reopen(layout: Layout) -> Survey:
    survey = Survey.__new__(Survey)
    survey._open(layout)
    return survey

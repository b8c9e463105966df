"""Write a copy of a SEG-Y survey with other samples and the same headers."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import FileError, describe
from .files import AtomicFile
from .layout import TEXT, Layout
from .segy import open_checked
from .text import add_lines


class Output:
    """A copy of a survey that gets new samples, and its name only once it is complete.

    Headers and the traces that are not written stay byte for byte. Integer samples are rounded; where the
    result is larger than the format holds, all of it is multiplied by one factor, `scale`, so ratios survive.
    A context manager: `start`, `write` for some or all traces, `commit`; anything else leaves no file.
    """

    def __init__(self, layout: Layout, path: str | Path):
        self.layout = layout
        self.scale = 1.0
        self._file = None
        self._spool = None
        self._spooled: list[np.ndarray] = []
        spool = 0 if layout.format.largest is None else 4 * layout.samples * layout.traces
        self._target = AtomicFile(path, (layout.path,), layout.size + spool)
        self.path = self._target.path

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *error) -> None:
        self.discard()

    def start(self) -> None:
        """Copy the input byte by byte: a full disk shows now, and only samples remain to be replaced."""
        try:
            with open(self.layout.path, "rb") as source, open(self._target.temporary, "r+b") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                if target.tell() != self.layout.size:
                    raise OSError("the input's size changed")
            if self.layout.format.largest is not None:
                # The factor is known at the end only: until then floats wait in a file without a name.
                self._spool = tempfile.TemporaryFile(dir=self.path.parent)
            self._file = open_checked(self.layout, self._target.temporary, "r+")
        except OSError as error:
            raise self._failed(error) from error

    def write(self, traces: np.ndarray, samples: np.ndarray) -> None:
        """Give the traces at these positions [X] the samples [T, X] float32."""
        rows = np.ascontiguousarray(samples.T, np.float32)
        try:
            if self._spool is not None:
                self._spool.write(rows.tobytes())
                self._spooled.append(np.asarray(traces))
                return
            self._store(traces, rows.astype(self._file.dtype, copy=False))
        except OSError as error:
            raise self._failed(error) from error

    def commit(self, lines: list[str] | None = None) -> list[str]:
        """Finish the file, with `lines` added to its text header, and give it its name; returns warnings."""
        try:
            notes = self._store_integers() if self._spool is not None else []
            self._file.close()
            self._file = None
            if lines:
                notes += self._describe(lines + [f"samples multiplied by {self.scale:g}"] * (self.scale != 1))
            if os.path.getsize(self._target.temporary) != self.layout.size:
                raise OSError("the copy's size changed")
            self._target.commit()
        except OSError as error:
            raise self._failed(error) from error
        return notes

    def discard(self) -> None:
        """Close and remove what was not committed."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._target.discard()

    def _store(self, traces: np.ndarray, rows: np.ndarray) -> None:
        for k, row in zip(traces, rows, strict=True):
            self._file.trace[int(k)] = row

    def _store_integers(self) -> list[str]:
        largest = self.layout.format.largest
        row = 4 * self.layout.samples
        peak, power, count = 0.0, 0.0, 0
        self._spool.flush()
        for _, block in self._blocks(row):
            peak = max(peak, float(np.abs(block).max()))
            power += float(np.square(block, dtype=np.float64).sum())
            count += block.size
        if peak > largest:
            # Rounded down to three digits, so that the factor in the header is the factor used.
            digits = 2 - math.floor(math.log10(largest / peak))
            self.scale = math.floor(largest / peak * 10**digits) / 10**digits
        for traces, block in self._blocks(row):
            rows = np.rint(block.astype(np.float64) * self.scale)
            self._store(traces, rows.astype(self._file.dtype))
        notes = []
        if self.scale != 1:
            notes.append(f"the result is larger than {self.layout.format.name} samples hold: all of it was "
                         f"multiplied by {self.scale:g}")
        rms = math.sqrt(power / max(count, 1)) * self.scale
        if rms < 30:
            notes.append(f"rounding to {self.layout.format.name} samples is coarse: the result's RMS is "
                         f"{rms:.1f} steps; convert the input to floats first")
        return notes

    def _blocks(self, row: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._spool.seek(0)
        for traces in self._spooled:
            block = np.frombuffer(self._spool.read(row * traces.size), np.float32)
            yield traces, block.reshape(traces.size, -1)

    def _describe(self, lines: list[str]) -> list[str]:
        with open(self._target.temporary, "r+b") as handle:
            header, written = add_lines(handle.read(TEXT), lines)
            handle.seek(0)
            handle.write(header)
        if written == len(lines):
            return []
        return [f"the text header had room for {written} of {len(lines)} lines of parameters"]

    def _failed(self, error: OSError) -> FileError:
        return FileError(describe(f"output {self.path}", error.strerror or error, "a complete file",
                                  "Check the disk; nothing was left under this name"))

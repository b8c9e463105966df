"""Write a copy of a SEG-Y survey with other samples and the same headers."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import FileError, describe
from .files import AtomicFile
from .layout import TEXT, TRACE, Layout
from .samples import encode
from .text import add_lines

_CHUNK = 4 << 20  # bytes of samples converted at once
_COARSE = 30  # steps: an RMS below it leaves the rounding above a thirtieth of the signal


class SegyTarget:
    """A copy of a survey that is given new samples, and its name only once it is complete.

    Headers and the traces that are not written stay byte for byte. Samples of a float format go to their place
    at once. For integers the factor that makes the largest fit is known at the end only: until then floats
    wait in a file beside the copy, one row per trace, each with a mark that it was written. Every trace has
    its own bytes, so processes may write at once, in any order, and again.

    layout: facts of the input. path: the output's name. partial: the copy until then, on the same disk.
    """

    def __init__(self, layout: Layout, path: str | Path, partial: str | Path):
        self.layout = layout
        self.path = Path(path)
        self.partial = Path(partial)
        self.scale = 1.0
        self._files: dict[Path, int] = {}

    def __reduce__(self):
        return SegyTarget, (self.layout, self.path, self.partial)

    @property
    def room(self) -> int:
        """Bytes that the copy, and for integers the floats beside it, take on the disk."""
        return self.layout.size + (self._row * self.layout.traces if self._waits else 0)

    def prepare(self) -> None:
        """Copy the input byte by byte, so that a full disk shows now; a copy that is there already stays."""
        with self._errors():
            if not self._has(self.partial, self.layout.size):
                fresh = self.partial.with_name(self.partial.name + ".copy")
                self._copy_to(fresh, "wb")
                os.replace(fresh, self.partial)
            if self._waits and not self._has(self._spool, self._row * self.layout.traces):
                with open(self._spool, "wb") as target:
                    target.truncate(self._row * self.layout.traces)

    def write(self, traces: np.ndarray, data: np.ndarray) -> None:
        """Give the traces at these positions [n] the samples [T, n] float32."""
        rows = np.ascontiguousarray(data.T, np.float32)
        traces = np.asarray(traces, np.int64)
        if rows.shape != (traces.size, self.layout.samples) or traces.size == 0:
            raise FileError(describe(f"output {self.path}", f"samples of shape {data.shape}",
                                     f"({self.layout.samples}, {traces.size})", "Write whole traces"))
        with self._errors():
            if not self._waits:
                self._store(traces, rows)
                return
            handle = self._open(self._spool)
            marked = np.concatenate([rows, np.ones((traces.size, 1), np.float32)], 1)
            for trace, row in zip(traces.tolist(), marked, strict=True):
                _pwrite(handle, row, trace * self._row)

    def sync(self) -> None:
        """Bring what this process wrote to the disk."""
        with self._errors():
            for handle in self._files.values():
                os.fdatasync(handle)

    def commit(self, lines: list[str] | None = None) -> list[str]:
        """Finish the file, with `lines` added to its text header, and give it its name; returns warnings."""
        notes = self.finish(lines)
        with self._errors():
            os.replace(self.partial, self.path)
            _sync_folder(self.path.parent)
            self._remove(self._spool)
        return notes

    def finish(self, lines: list[str] | None = None) -> list[str]:
        """All of `commit` but the name: samples in their format, text header, sync; the same again if repeated."""
        with self._errors():
            notes = self._store_waiting() if self._waits else []
            if lines:
                notes += self._describe(lines + [f"samples multiplied by {self.scale:g}"] * (self.scale != 1))
            handle = self._open(self.partial)
            os.fsync(handle)
            if os.fstat(handle).st_size != self.layout.size:
                raise OSError(0, "the copy's size changed")
            self.close()
        return notes

    def close(self) -> None:
        """Close the files; what they hold stays for a later process."""
        while self._files:
            os.close(self._files.popitem()[1])

    def discard(self) -> None:
        """Close and remove what was not committed."""
        self.close()
        for path in (self.partial, self.partial.with_name(self.partial.name + ".copy"), self._spool):
            self._remove(path)

    @property
    def _waits(self) -> bool:
        return self.layout.format.largest is not None

    @property
    def _spool(self) -> Path:
        return self.partial.with_name(self.partial.name + ".floats")

    @property
    def _row(self) -> int:
        return 4 * (self.layout.samples + 1)

    def _copy_to(self, path: Path, mode: str) -> None:
        with open(self.layout.path, "rb") as source, open(path, mode) as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            if target.tell() != self.layout.size or os.fstat(source.fileno()).st_size != self.layout.size:
                raise OSError(0, "the input's size changed")
            os.fsync(target.fileno())

    def _store(self, traces: np.ndarray, rows: np.ndarray) -> None:
        """Write samples [n, T] in the file's format, each trace's at its place."""
        handle, layout = self._open(self.partial), self.layout
        step = max(1, _CHUNK // (4 * layout.samples))
        for first in range(0, traces.size, step):
            raw = encode(rows[first:first + step], layout.format, layout.endian)
            for trace, row in zip(traces[first:first + step].tolist(), raw, strict=True):
                _pwrite(handle, row, layout.data + trace * layout.stride + TRACE)

    def _store_waiting(self) -> list[str]:
        """Turn the floats that wait into integers, under one factor where the largest does not fit."""
        largest = self.layout.format.largest
        assert largest is not None  # floats never wait
        peak, power, count = 0.0, 0.0, 0
        for _, block in self._waiting():
            peak = max(peak, float(np.abs(block).max()))
            power += float(np.square(block, dtype=np.float64).sum())
            count += block.size
        self.scale = 1.0
        if peak > largest:
            # Rounded down to three digits, so that the factor in the header is the factor used.
            digits = 2 - math.floor(math.log10(largest / peak))
            self.scale = math.floor(largest / peak * 10**digits) / 10**digits
        for traces, block in self._waiting():
            # Scaled in float64: a product rounded to float32 could exceed what the format holds.
            self._store(traces, block.astype(np.float64) * self.scale)
        notes = []
        if self.scale != 1:
            notes.append(f"the result is larger than {self.layout.format.name} samples hold: all of it was "
                         f"multiplied by {self.scale:g}")
        rms = math.sqrt(power / max(count, 1)) * self.scale
        if rms < _COARSE:
            notes.append(f"rounding to {self.layout.format.name} samples is coarse: the result's RMS is "
                         f"{rms:.1f} steps; convert the input to floats first")
        return notes

    def _waiting(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers [n] and floats [n, T] of the traces that were written, some at a time."""
        step = max(1, _CHUNK // self._row)
        handle = self._open(self._spool)
        for first in range(0, self.layout.traces, step):
            count = min(step, self.layout.traces - first)
            raw = os.pread(handle, count * self._row, first * self._row)
            block = np.frombuffer(raw, np.float32).reshape(count, -1)
            there = np.flatnonzero(block[:, -1])
            if there.size:
                yield first + there, block[there, :-1]

    def _describe(self, lines: list[str]) -> list[str]:
        """Add lines to the text header of the input, so that doing it again changes nothing."""
        with open(self.layout.path, "rb") as handle:
            header, written = add_lines(handle.read(TEXT), lines)
        _pwrite(self._open(self.partial), np.frombuffer(header, np.uint8), 0)
        if written == len(lines):
            return []
        return [f"the text header had room for {written} of {len(lines)} lines of parameters"]

    def _open(self, path: Path) -> int:
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDWR)
        return self._files[path]

    @staticmethod
    def _has(path: Path, size: int) -> bool:
        return path.exists() and path.stat().st_size == size and size > 0

    @staticmethod
    def _remove(path: Path) -> None:
        path.unlink(missing_ok=True)

    def _errors(self) -> _Errors:
        return _Errors(self.path)


class Output(SegyTarget):
    """A `SegyTarget` whose partial file is hidden beside the output and dies with the process.

    A context manager: `start`, `write` for some or all traces, `commit`; anything else leaves no file.
    """

    def __init__(self, layout: Layout, path: str | Path):
        self._hidden = AtomicFile(path, (layout.path,), SegyTarget(layout, path, path).room)
        super().__init__(layout, self._hidden.path, self._hidden.temporary)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *error) -> None:
        self.discard()

    def start(self) -> None:
        """Copy the input; a full disk shows now."""
        with self._errors():
            self._copy_to(self.partial, "r+b")
            if self._waits:
                with tempfile.TemporaryFile(dir=self.path.parent) as spool:  # without a name: a kill leaves none
                    spool.truncate(self._row * self.layout.traces)
                    self._files[self._spool] = os.dup(spool.fileno())

    def commit(self, lines: list[str] | None = None) -> list[str]:
        """Finish the file, with `lines` added to its text header, and give it its name; returns warnings."""
        notes = self.finish(lines)
        with self._errors():
            self._hidden.commit()
        return notes

    def discard(self) -> None:
        """Close and remove what was not committed."""
        self.close()
        self._hidden.discard()


class _Errors:
    """Turn an OSError into the FileError of an output."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        if isinstance(error, OSError) and not isinstance(error, FileError):
            raise FileError(describe(f"output {self._path}", error.strerror or error, "a complete file",
                                     "Check the disk; nothing was left under this name")) from error


def _pwrite(handle: int, row: np.ndarray, place: int) -> None:
    view = row.data.cast("B")
    while view:
        done = os.pwrite(handle, view, place)
        view, place = view[done:], place + done


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder; the file is whole anyway
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

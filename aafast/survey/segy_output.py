"""Write a survey with the headers of another and new samples, each byte once."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import FileError, describe
from .layout import TEXT, TRACE, Layout
from .samples import encode
from .text import add_lines

_CHUNK = 4 << 20  # bytes of samples converted at once
_COARSE = 30  # steps: an RMS below it leaves the rounding above a thirtieth of the signal
_MARK = 4  # bytes: whether a row of floats was written


class SegyTarget:
    """A survey of the input's layout that is given traces one by one, and its name only once it is complete.

    A trace goes to its place whole, header and samples, as soon as it is there: no byte is written twice, and a file
    system never has to bring back what it has just written. For integers the factor that makes the largest fit is
    known at the end only: until then header and floats wait in a file beside it, one row per trace, each with a mark
    that it was written. Every trace has its own bytes, so processes may write at once, in any order, and again.

    layout: facts of the input. path: the output's name. partial: the file until then, on the same disk.
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
        """Bytes that the file, and for integers the floats beside it, take on the disk."""
        return self.layout.size + (self._row * self.layout.traces if self._waits else 0)

    def prepare(self) -> None:
        """Make the file with everything but the traces, and claim its room, so that a full disk shows now.

        One that is there already stays.
        """
        with self._errors():
            if not self._has(self.partial, self.layout.size):
                fresh = self.partial.with_name(self.partial.name + ".new")
                with open(self.layout.path, "rb") as source, open(fresh, "wb") as target:
                    if os.fstat(source.fileno()).st_size != self.layout.size:
                        raise OSError(0, "the input's size changed")
                    _claim(target.fileno(), self.layout.size)
                    target.write(source.read(self.layout.data))
                    for handle in (source, target):
                        handle.seek(self.layout.size - self.layout.tail)
                    target.write(source.read(self.layout.tail))
                    target.flush()
                    os.fsync(target.fileno())
                os.replace(fresh, self.partial)
            if self._waits and not self._has(self._spool, self._row * self.layout.traces):
                with open(self._spool, "wb") as target:
                    _claim(target.fileno(), self._row * self.layout.traces)

    def write(self, traces: np.ndarray, headers: np.ndarray, data: np.ndarray) -> None:
        """Give the traces at these positions [n] their headers [n, 240] uint8 and the samples [T, n] float32."""
        rows = np.ascontiguousarray(data.T, np.float32)
        traces = np.asarray(traces, np.int64)
        if rows.shape != (traces.size, self.layout.samples) or headers.shape != (traces.size, TRACE):
            raise FileError(describe(f"output {self.path}", f"samples of shape {data.shape}",
                                     f"({self.layout.samples}, {traces.size})", "Write whole traces"))
        with self._errors():
            if not self._waits:
                self._store(traces, headers, rows)
                return
            marks = np.full((traces.size, _MARK), 1, np.uint8)
            waiting = np.concatenate([headers, rows.view(np.uint8), marks], 1)
            _write_rows(self._open(self._spool), traces, waiting, 0)

    def put(self, traces: np.ndarray, records: np.ndarray) -> None:
        """Give the traces at these positions [n] their bytes [n, stride] uint8, header and samples, as they are."""
        with self._errors():
            _write_rows(self._open(self.partial), np.asarray(traces, np.int64), records, self.layout.data)

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
        for path in (self.partial, self.partial.with_name(self.partial.name + ".new"), self._spool):
            self._remove(path)

    @property
    def _waits(self) -> bool:
        return self.layout.format.largest is not None

    @property
    def _spool(self) -> Path:
        return self.partial.with_name(self.partial.name + ".floats")

    @property
    def _row(self) -> int:
        return TRACE + 4 * self.layout.samples + _MARK

    def _store(self, traces: np.ndarray, headers: np.ndarray, rows: np.ndarray) -> None:
        """Write headers [n, 240] and samples [n, T] in the file's format, each trace at its place."""
        handle, layout = self._open(self.partial), self.layout
        step = max(1, _CHUNK // layout.stride)
        for first in range(0, traces.size, step):
            here = slice(first, first + step)
            raw = encode(rows[here], layout.format, layout.endian)
            _write_rows(handle, traces[here], np.concatenate([headers[here], raw.view(np.uint8)], 1), layout.data)

    def _store_waiting(self) -> list[str]:
        """Turn the floats that wait into integers, under one factor where the largest does not fit."""
        largest = self.layout.format.largest
        assert largest is not None  # floats never wait
        peak, power, count = 0.0, 0.0, 0
        for _, _, block in self._waiting():
            peak = max(peak, float(np.abs(block).max()))
            power += float(np.square(block, dtype=np.float64).sum())
            count += block.size
        self.scale = 1.0
        if peak > largest:
            # Rounded down to three digits, so that the factor in the header is the factor used.
            digits = 2 - math.floor(math.log10(largest / peak))
            self.scale = math.floor(largest / peak * 10**digits) / 10**digits
        for traces, headers, block in self._waiting():
            # Scaled in float64: a product rounded to float32 could exceed what the format holds.
            self._store(traces, headers, block.astype(np.float64) * self.scale)
        notes = []
        if self.scale != 1:
            notes.append(f"the result is larger than {self.layout.format.name} samples hold: all of it was "
                         f"multiplied by {self.scale:g}")
        rms = math.sqrt(power / max(count, 1)) * self.scale
        if rms < _COARSE:
            notes.append(f"rounding to {self.layout.format.name} samples is coarse: the result's RMS is "
                         f"{rms:.1f} steps; convert the input to floats first")
        return notes

    def _waiting(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Numbers [n], headers [n, 240] and floats [n, T] of the traces that were written, some at a time."""
        step = max(1, _CHUNK // self._row)
        handle = self._open(self._spool)
        for first in range(0, self.layout.traces, step):
            count = min(step, self.layout.traces - first)
            raw = os.pread(handle, count * self._row, first * self._row)
            block = np.frombuffer(raw, np.uint8).reshape(count, -1)
            there = np.flatnonzero(block[:, -1])
            if there.size:
                floats = np.ascontiguousarray(block[there, TRACE:-_MARK]).view(np.float32)
                yield first + there, block[there, :TRACE], floats

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


def _write_rows(handle: int, traces: np.ndarray, rows: np.ndarray, start: int) -> None:
    """Write rows [n, size], that of trace k at byte start + k size; neighbours in one piece."""
    cuts = np.flatnonzero(np.diff(traces) != 1) + 1
    for first, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), traces.size], strict=True):
        if first < stop:
            _pwrite(handle, np.ascontiguousarray(rows[first:stop]), start + int(traces[first]) * rows.shape[1])


def _pwrite(handle: int, row: np.ndarray, place: int) -> None:
    view = row.data.cast("B")
    while view:
        done = os.pwrite(handle, view, place)
        view, place = view[done:], place + done


def _claim(handle: int, size: int) -> None:
    """Make a file so long, all zeros, and have the file system set its room aside where it can do so at once."""
    os.ftruncate(handle, size)
    try:
        claim = ctypes.CDLL(None, use_errno=True).fallocate
    except (AttributeError, OSError):
        return
    # Not os.posix_fallocate: where the file system cannot, it writes to every block instead.
    if size and claim(handle, 0, ctypes.c_int64(0), ctypes.c_int64(size)):
        code = ctypes.get_errno()
        if code in (errno.ENOSPC, errno.EDQUOT):  # any other means that it cannot, and a full disk shows later
            raise OSError(code, os.strerror(code))


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder; the file is whole anyway
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

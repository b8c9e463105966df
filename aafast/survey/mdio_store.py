"""An MDIO store as a SEG-Y file to read: what it claims is checked before it is believed, and damage is an error."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AafastError, FileError, FormatError, describe, require
from .layout import BINARY, FORMATS, LONGEST, TEXT, TRACE, Format
from .mdio_headers import axis_of, make_head, make_headers
from .mdio_tiles import sides, tiles
from .samples import decode, encode

MARK = "aafast_segy"  # attribute of the group, written last: without it a store is not complete
_FEW = 1 << 16  # cells that need no evidence: what they take is little
_MOST = 4  # cells for which a byte of the store's files is evidence: a survey of one number has fewer
_CHUNK = 1 << 28  # values of a chunk at most
_CODE = slice(TEXT + 24, TEXT + 26)  # of the sample format, in the bytes before the traces


def local(name: str | Path) -> str:
    """A store's place: its real path, or its URL."""
    return str(name) if "://" in str(name) else os.path.realpath(name)


def open_group(name: str | Path) -> Any:
    """The Zarr group of this name, to read. Raises FileError where there is none."""
    zarr = require("zarr", extra="mdio")
    try:
        return zarr.open_group(local(name), mode="r")
    except Exception as error:  # each kind of store has errors of its own
        raise FileError(describe(f"{name}", f"{type(error).__name__}: {error}", "an MDIO store",
                                 "Check the name")) from error


@dataclass
class MdioStore:
    """An open MDIO survey: its zarr `group`, name of its `amplitude`, its grid of trace numbers `places` (-1: none),
    and the SEG-Y file that it stands for: head and tail as bytes, form, endian, samples, interval and time of the
    first sample in ms, notes."""

    name: str
    group: Any
    amplitude: str
    places: np.ndarray
    head: bytes
    tail: bytes
    form: Format
    endian: str
    samples: int
    interval: float
    t0: float
    notes: list[str]
    _cells: np.ndarray | None = field(default=None, repr=False)

    @property
    def traces(self) -> int:
        """Traces of the survey."""
        return int((self.places >= 0).sum())

    @property
    def stride(self) -> int:
        """Bytes of a trace of the SEG-Y file."""
        return TRACE + self.samples * self.form.size

    @property
    def size(self) -> int:
        """Bytes of the SEG-Y file."""
        return len(self.head) + self.traces * self.stride + len(self.tail)

    def pieces(self) -> Iterator[np.ndarray]:
        """Numbers [n] of the traces of each tile, in the order in which the store is best read."""
        for tile in tiles(self.places.shape, self.samples):
            numbers = self.places[tile]
            if (numbers >= 0).any():
                yield numbers[numbers >= 0]

    def records(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers [n] of traces and their bytes [n, stride], header and samples, tile by tile."""
        for tile in tiles(self.places.shape, self.samples):
            there = self.places[tile] >= 0
            if there.any():
                yield self.places[tile][there], self._read(tile, there)

    def gather(self, traces: np.ndarray) -> np.ndarray:
        """Bytes [n, stride] of these traces [n], each tile that holds some read once."""
        if self._cells is None:
            self._cells = np.argsort(np.where(self.places >= 0, self.places, np.iinfo(np.int64).max), axis=None)
        cells = np.unravel_index(self._cells[traces], self.places.shape)
        side = sides(self.places.shape, self.samples)
        corners = np.stack([axis // length * length for axis, length in zip(cells, side, strict=True)], 1)
        rows = np.empty((traces.size, self.stride), np.uint8)
        for corner in np.unique(corners, axis=0):
            tile = tuple(slice(k, k + length) for k, length in zip(corner.tolist(), side, strict=True))
            mine = np.flatnonzero((corners == corner).all(1))
            there = np.zeros(self.places[tile].shape, bool)
            here = tuple(axis[mine] - start for axis, start in zip(cells, corner.tolist(), strict=True))
            there[here] = True
            order = np.argsort(np.ravel_multi_index(here, there.shape))
            rows[mine[order]] = self._read(tile, there)
        return rows

    def _read(self, tile: tuple[slice, ...], there: np.ndarray) -> np.ndarray:
        with _reading(self.name):
            rows = np.ascontiguousarray(np.asarray(self.group[self.amplitude][tile])[there], np.float32)
            return np.concatenate([self._headers(tile, there), self._bytes(rows, tile, there)], 1)

    def _headers(self, tile: tuple[slice, ...], there: np.ndarray) -> np.ndarray:
        if "raw_headers" in self.group:
            return np.asarray(self.group["raw_headers"][tile])[there]
        return make_headers(self.group, self.amplitude, tile, there, self.samples)

    def _bytes(self, rows: np.ndarray, tile: tuple[slice, ...], there: np.ndarray) -> np.ndarray:
        """Samples in the file's format; where floats stand for other bytes, those, unless the floats were changed."""
        if "raw_samples" not in self.group:
            return encode(rows, self.form, self.endian)
        kept = np.asarray(self.group["raw_samples_mask"][tile])[there]
        raw = np.asarray(self.group["raw_samples"][tile])[there]
        old = decode(np.ascontiguousarray(raw), self.form, self.endian)
        kept &= ((old == rows) | np.isnan(old) & np.isnan(rows)).all(1)
        found = encode(np.where(kept[:, None], np.float32(0), rows), self.form, self.endian)
        found[kept] = raw[kept]
        return found


def open_store(name: str | Path) -> MdioStore:
    """Open an MDIO store for reading. Raises FileError where there is none, FormatError where it is no survey, is not
    complete, or claims what does not fit together."""
    group = open_group(name)
    with _reading(name):
        facts = dict(group.attrs)
        more = facts.get("attributes")
        amplitude = more.get("defaultVariableName", "amplitude") if isinstance(more, Mapping) else "amplitude"
        array = group.get(amplitude) if isinstance(amplitude, str) else None
        if array is None or getattr(array, "ndim", 0) not in (2, 3) or array.dtype.kind not in "fiu":
            raise FormatError(describe(f"{name}", f"arrays {sorted(group.array_keys())}", f"{amplitude} [..., time]",
                                       "The store is incomplete or no post-stack survey; convert it again"))
        shape = tuple(array.shape)
        _check_shape(name, shape)
        mark = facts.get(MARK)
        if mark is not None:
            return _marked(name, group, amplitude, mark)
        if "raw_headers" in group:
            raise FormatError(describe(f"{name}", "a store without its mark of completeness", "a complete one",
                                       "Convert the survey again"))
        _check_arrays(name, group, {amplitude: shape, "trace_mask": shape[:-1]})
        mask = group["trace_mask"][...].astype(bool) if "trace_mask" in group else np.ones(shape[:-1], bool)
        places = np.where(mask, np.cumsum(mask).reshape(mask.shape) - 1, -1)
        _check_any(name, places)
        note = "the store keeps no bytes of a SEG-Y file: its traces have new headers"
        samples, interval, start = axis_of(group, amplitude)
        head = make_head(group, amplitude)
        return MdioStore(str(name), group, amplitude, places, head, b"", FORMATS[5], "big", samples, interval, start,
                         [note])


def _marked(name: str | Path, group: Any, amplitude: str, mark: Any) -> MdioStore:
    """A store that this package made, every number of its mark held against its arrays."""
    form, endian, samples = FORMATS[mark["format"]], mark["endian"], mark["samples"]
    head, tail = (base64.b64decode(mark[part], validate=True) for part in ("head", "tail"))
    shape = tuple(group[amplitude].shape)
    grid = shape[:-1]
    _check_arrays(name, group, {
        amplitude: shape, "trace_number": grid, "raw_headers": (*grid, TRACE),
        "raw_samples": (*grid, samples * form.size), "raw_samples_mask": grid,
    })  # fmt: skip
    places = np.asarray(group["trace_number"][...])
    numbers = np.sort(places[places >= 0])
    fits = (
        endian in ("big", "little") and samples == shape[-1] and places.dtype == np.int64
        and len(head) >= TEXT + BINARY and (len(head) - BINARY) % TEXT == 0
        and int.from_bytes(head[_CODE], endian) == form.code
        and numbers.size == mark["traces"] and np.array_equal(numbers, np.arange(numbers.size))
        and ("raw_samples" in group) == ("raw_samples_mask" in group)
        and all(isinstance(mark[n], int | float) for n in ("interval", "t0"))
    )  # fmt: skip
    if not fits:
        raise FormatError(describe(f"{name}", "arrays and a mark that contradict each other", "one survey",
                                   "Convert the survey again"))
    _check_any(name, places)
    return MdioStore(str(name), group, amplitude, places, head, tail, form, endian, samples, float(mark["interval"]),
                     float(mark["t0"]), [])


def _check_shape(name: str | Path, shape: tuple[int, ...]) -> None:
    """Refuse a grid that holds nothing, or more than a SEG-Y trace or the store's files can bear out."""
    cells = int(np.prod(shape[:-1], dtype=object))
    if not cells or not 0 < shape[-1] <= LONGEST:
        raise FormatError(describe(f"{name}", f"{cells} traces of {shape[-1]} samples",
                                   f"a trace or more of 1 to {LONGEST} samples", "Check that this is a survey"))
    if cells > _FEW and "://" not in str(name):
        files = sum(entry.stat().st_size for entry in Path(local(name)).rglob("*") if entry.is_file())
        if cells > _MOST * files:
            raise FormatError(describe(f"{name}", f"{cells} cells in {files} bytes", "an array that was written",
                                       "The store is damaged; convert the survey again"))


def _check_arrays(name: str | Path, group: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse arrays, those that are there, of another shape, of no numbers, or in chunks that nobody could hold."""
    for key, shape in shapes.items():
        array = group.get(key)
        if array is None:
            continue
        chunk = int(np.prod(array.chunks, dtype=object))
        if tuple(array.shape) != shape or array.dtype.kind not in "fiub" or chunk > _CHUNK:
            got = f"{list(array.shape)} {array.dtype} in chunks {list(array.chunks)}"
            raise FormatError(describe(f"{name}: {key}", got, f"{list(shape)}, numbers",
                                       "The store is damaged; convert the survey again"))


def _check_any(name: str | Path, places: np.ndarray) -> None:
    if not (places >= 0).any():
        raise FormatError(describe(f"{name}", "no trace", "one trace or more", "Check that this is a survey"))


@contextlib.contextmanager
def _reading(name: str | Path) -> Iterator[None]:
    """Whatever a damaged store makes zarr or numpy raise becomes a FormatError."""
    try:
        yield
    except (AafastError, KeyboardInterrupt, GeneratorExit):
        raise
    except OSError as error:
        raise FileError(describe(f"{name}", error.strerror or error, "a store that can be read",
                                 "Check the disk, or copy it again")) from error
    except Exception as error:
        raise FormatError(describe(f"{name}", f"{type(error).__name__}: {str(error)[:200]}", "a whole MDIO store",
                                   "The store is damaged; convert the survey again")) from error

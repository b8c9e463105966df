"""SEG-Y to MDIO (Zarr v3) and back, every byte of every header kept; local folders and URLs of fsspec.

An MDIO store holds what others read: `amplitude` on its grid with coordinates, `trace_mask`, and `segy_file_header`.
Beside these lies what makes the way back exact: `raw_headers` (240 bytes a trace), `trace_number` (its place in the
file), the bytes before and after the traces, and `raw_samples` of the traces that 4-byte floats do not hold exactly.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AafastError, FileError, FormatError, describe, require
from .files import AtomicFile
from .layout import FORMATS, TRACE, Format
from .mdio_headers import make_head, make_headers
from .samples import decode, encode
from .segy import Survey
from .text import decode as decode_text

_TILE = 64  # traces along each side of a chunk of a cube
_LINE = 512  # traces of a chunk of a line
_DEPTH = 512  # samples of a chunk
_SPARSE = 4  # cells per trace above which a grid is stored as a line
_MARK = "aafast_segy"  # attribute of the group, written last: without it a store is not complete


def is_mdio(name: str | Path) -> bool:
    """Whether a name means an MDIO store: by its ending, as a URL, or as a folder that Zarr has made."""
    text = str(name).rstrip("/")
    made = os.path.exists(os.path.join(text, "zarr.json")) or os.path.exists(os.path.join(text, ".zgroup"))
    return text.endswith((".mdio", ".zarr")) or "://" in text or made


def check_new(target: str | Path) -> None:
    """Raise FileError where there is a store of this name already, or no folder to make it in."""
    place = _local(target)
    if "://" in place:
        with contextlib.suppress(FileError):
            open_group(target)
            raise FormatError(describe(f"output {target}", "a store of this name", "a new store",
                                       "Choose another name, or remove it first"))
        return
    path = Path(place)
    if os.path.lexists(path):
        raise FileError(describe(f"output {path}", "something of this name", "a new name",
                                 "Choose another name, or remove it first"))
    if not path.parent.is_dir():
        raise FileError(describe(f"folder of output {path}", "no such folder", "an existing folder", "Make it first"))


def segy_to_mdio(source: str | Path, target: str | Path, interval: float | None = None) -> list[str]:
    """Write a SEG-Y file as an MDIO store; returns notes.

    A cube is stored on its grid [inline, crossline, time], anything else as [trace, time]. Memory does not grow with
    the survey. A local store appears under its name only when it is complete; at a URL the mark of completeness is
    written last. interval: ms, in place of the header's. Raises FileError where `target` exists or cannot be written.
    """
    with Survey(source, interval) as survey, _new_store(target) as group:
        places, coordinates = _grid(survey)
        arrays = _create(group, survey, places, coordinates)
        inexact = 0
        for tile in _tiles(places.shape):
            there = places[tile] >= 0
            if there.any():
                inexact += _write_tile(survey, arrays, group, tile, places[tile], there)
        layout = survey.layout
        group.attrs[_MARK] = {
            "head": _to_text(survey.head()), "tail": _to_text(survey.foot()), "endian": layout.endian,
            "format": layout.format.code, "traces": layout.traces, "samples": layout.samples,
            "interval": layout.interval, "t0": layout.t0, "raw_samples": inexact,
        }  # fmt: skip
        if not inexact:
            return []
        return [f"{inexact} traces hold samples that 4-byte floats do not: their bytes are kept beside these"]


def mdio_to_segy(source: str | Path, target: str | Path) -> list[str]:
    """Write an MDIO store as a SEG-Y file; returns notes.

    Of a store that `segy_to_mdio` made, the headers and the samples that were not changed are those of the SEG-Y
    file, byte for byte. Of any other, amplitudes are written as 4-byte IEEE floats under new headers that hold
    inline, crossline and coordinates. Raises FormatError where the store is incomplete or is no survey.
    """
    store = open_store(source)
    with AtomicFile(target, room=store.size) as page:
        try:
            with open(page.temporary, "r+b") as handle:
                handle.truncate(store.size)
                handle.write(store.head)
                for numbers, rows in store.records():
                    for number, row in zip(numbers.tolist(), rows, strict=True):
                        handle.seek(len(store.head) + number * rows.shape[1])
                        handle.write(row.tobytes())
                handle.seek(store.size - len(store.tail))
                handle.write(store.tail)
            page.commit()
        except AafastError:
            raise
        except OSError as error:
            raise FileError(describe(f"output {target}", error.strerror or error, "a complete file",
                                     "Check the disk; nothing was left under this name")) from error
    return store.notes


@dataclass
class MdioStore:
    """An open MDIO survey: zarr `group`, name of its `amplitude`, its grid of trace numbers `places` (-1: none), and
    the SEG-Y file that it stands for: head and tail as bytes, form, endian, samples, notes."""

    group: Any
    amplitude: str
    places: np.ndarray
    head: bytes
    tail: bytes
    form: Format
    endian: str
    samples: int
    notes: list[str]

    @property
    def size(self) -> int:
        """Bytes of the SEG-Y file."""
        stride = TRACE + self.samples * self.form.size
        return len(self.head) + int((self.places >= 0).sum()) * stride + len(self.tail)

    def records(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers [n] of traces and their bytes [n, stride], header and samples, tile by tile."""
        for tile in _tiles(self.places.shape):
            there = self.places[tile] >= 0
            if there.any():
                rows = np.ascontiguousarray(np.asarray(self.group[self.amplitude][tile])[there], np.float32)
                yield self.places[tile][there], np.concatenate([self._headers(tile, there), self._bytes(
                    rows, tile, there)], 1)

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
    """Open an MDIO store for reading. Raises FileError where there is none, FormatError where it is no survey."""
    group = open_group(name)
    facts = dict(group.attrs)
    amplitude = facts.get("attributes", {}).get("defaultVariableName", "amplitude")
    if amplitude not in group or group[amplitude].ndim not in (2, 3):
        raise FormatError(describe(f"{name}", f"arrays {sorted(group.array_keys())}", f"{amplitude} [..., time]",
                                   "The store is incomplete or no post-stack survey; convert it again"))
    mark, shape = facts.get(_MARK), group[amplitude].shape
    if mark is not None:
        return MdioStore(group, amplitude, group["trace_number"][...], _to_bytes(mark["head"]),
                         _to_bytes(mark["tail"]), FORMATS[mark["format"]], mark["endian"], mark["samples"], [])
    if "raw_headers" in group:
        raise FormatError(describe(f"{name}", "a store without its mark of completeness", "a complete one",
                                   "Convert the survey again"))
    mask = group["trace_mask"][...].astype(bool) if "trace_mask" in group else np.ones(shape[:-1], bool)
    places = np.where(mask, np.cumsum(mask).reshape(mask.shape) - 1, -1)
    note = "the store keeps no bytes of a SEG-Y file: its traces have new headers"
    return MdioStore(group, amplitude, places, make_head(group, amplitude), b"", FORMATS[5], "big", shape[-1], [note])


def open_group(name: str | Path) -> Any:
    """The Zarr group of this name, to read. Raises FileError where there is none."""
    zarr = require("zarr", extra="mdio")
    try:
        return zarr.open_group(_local(name), mode="r")
    except Exception as error:  # each kind of store has errors of its own
        raise FileError(describe(f"{name}", f"{type(error).__name__}: {error}", "an MDIO store",
                                 "Check the name")) from error


def _grid(survey: Survey) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Trace numbers on the grid (-1: none), and the coordinates of its axes."""
    inline, crossline = survey.headers((189, 193))
    lines, row = np.unique(inline, return_inverse=True)
    crosses, column = np.unique(crossline, return_inverse=True)
    count = survey.layout.traces
    cells = lines.size * crosses.size
    cube = survey.geometry.kind == "3D" and cells <= _SPARSE * count
    if cube and np.unique(row * crosses.size + column).size == count:
        places = np.full((lines.size, crosses.size), -1, np.int64)
        places[row, column] = np.arange(count)
        return places, {"inline": lines.astype(np.int32), "crossline": crosses.astype(np.int32)}
    return np.arange(count), {"trace": np.arange(1, count + 1, dtype=np.int32)}


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Tiles of whole chunks that cover the grid."""
    if len(shape) == 1:
        yield from ((slice(k, k + _LINE),) for k in range(0, shape[0], _LINE))
        return
    for k in range(0, shape[0], _TILE):
        yield from ((slice(k, k + _TILE), slice(j, j + _TILE)) for j in range(0, shape[1], _TILE))


def _create(group, survey: Survey, places: np.ndarray, coordinates: dict[str, np.ndarray]) -> dict[str, Any]:
    """All arrays of a store, those of the grid's size empty."""
    layout = survey.layout
    names = tuple(coordinates)
    side = tuple(min(_TILE if places.ndim == 2 else _LINE, n) for n in places.shape)

    def make(name: str, dtype: str, fill, *more: tuple[str, int, int]):
        return group.create_array(
            name, shape=places.shape + tuple(n for _, n, _ in more), dtype=dtype, fill_value=fill,
            chunks=side + tuple(min(c, n) for _, n, c in more), dimension_names=names + tuple(n for n, _, _ in more),
        )  # fmt: skip

    time = layout.t0 + layout.interval * np.arange(layout.samples)
    for name, values in {**coordinates, "time": time}.items():
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, dimension_names=(name,))
        array[...] = values
    width = layout.samples * layout.format.size
    arrays = {
        "amplitude": make("amplitude", "float32", np.nan, ("time", layout.samples, _DEPTH)),
        "raw_headers": make("raw_headers", "uint8", 0, ("header_byte", TRACE, TRACE)),
    }
    make("trace_mask", "bool", False)[...] = places >= 0
    make("trace_number", "int64", -1)[...] = places
    header = group.create_array("segy_file_header", shape=(), dtype="uint8", fill_value=0)
    header.attrs["textHeader"] = "\n".join(line.ljust(80) for line in decode_text(survey.text_header))
    for name, byte in (("cdp_x", 181), ("cdp_y", 185)):
        arrays[name] = make(name, "float64", np.nan)
        arrays[name].attrs["header_byte"] = byte
    arrays["raw_samples"] = lambda: (
        make("raw_samples", "uint8", 0, ("sample_byte", width, width)), make("raw_samples_mask", "bool", False))
    return arrays


def _write_tile(survey: Survey, arrays: dict, group, tile: tuple, places: np.ndarray, there: np.ndarray) -> int:
    """Fill one tile; returns how many of its traces float32 does not hold exactly."""
    numbers = places[there]
    order = np.argsort(numbers)
    rows = np.empty((numbers.size, survey.layout.stride), np.uint8)
    rows[order] = survey.gather(numbers[order])
    form, endian = survey.layout.format, survey.layout.endian
    headers, raw = rows[:, :TRACE], np.ascontiguousarray(rows[:, TRACE:])
    samples = decode(raw, form, endian)
    exact = np.isfinite(samples).all(1) | (form.code in (5, 6))  # IEEE floats keep NaN and Inf as they are
    exact &= (encode(np.where(exact[:, None], samples, np.float32(0)), form, endian) == raw).all(1)

    def put(name: str, values: np.ndarray, fill) -> None:
        block = np.full(places.shape + values.shape[1:], fill, values.dtype)
        block[there] = values
        arrays[name][tile] = block

    put("amplitude", samples, np.nan)
    put("raw_headers", headers, 0)
    word = ">" if endian == "big" else "<"
    scalar = np.ascontiguousarray(headers[:, 70:72]).view(word + "i2")[:, 0].astype(np.float64)
    factor = np.where(scalar > 0, scalar, np.where(scalar < 0, -1 / np.minimum(scalar, -1), 1))
    for name, byte in (("cdp_x", 181), ("cdp_y", 185)):
        put(name, np.ascontiguousarray(headers[:, byte - 1:byte + 3]).view(word + "i4")[:, 0] * factor, np.nan)
    if not exact.all():
        if "raw_samples" not in group:
            arrays["raw_samples"], arrays["raw_samples_mask"] = arrays["raw_samples"]()
        put("raw_samples", np.where(exact[:, None], np.uint8(0), raw), 0)
        put("raw_samples_mask", ~exact, False)
    return int((~exact).sum())


@contextlib.contextmanager
def _new_store(target: str | Path) -> Iterator[Any]:
    """A group to fill: hidden beside a local target until it is whole; at a URL in its place."""
    zarr = require("zarr", extra="mdio")
    facts = {"apiVersion": "1.1.3", "name": "PostStack", "attributes": {"defaultVariableName": "amplitude"}}
    check_new(target)
    place = _local(target)
    if "://" in place:
        try:
            group = zarr.create_group(place, attributes=facts, overwrite=False)
        except Exception as error:  # each kind of store has errors of its own
            raise FileError(describe(f"output {target}", f"{type(error).__name__}: {error}", "a new store",
                                     "Choose another name, and check the access to it")) from error
        yield group
        return
    path = Path(place)
    hidden = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        yield zarr.create_group(str(hidden), attributes=facts, overwrite=True)
        os.replace(hidden, path)
    except AafastError:
        raise
    except OSError as error:
        raise FileError(describe(f"output {path}", error.strerror or error, "a complete store",
                                 "Check the disk; nothing was left under this name")) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _local(name: str | Path) -> str:
    return str(name) if "://" in str(name) else os.path.realpath(name)


def _to_text(raw: np.ndarray) -> str:
    return base64.b64encode(raw.tobytes()).decode("ascii")


def _to_bytes(text: str) -> bytes:
    return base64.b64decode(text)

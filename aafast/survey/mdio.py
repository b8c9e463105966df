"""SEG-Y to MDIO (Zarr v3) and back, every byte of every header kept; local folders and URLs of fsspec.

An MDIO store holds what others read: `amplitude` on its grid with coordinates, `trace_mask`, and `segy_file_header`.
Beside these lies what makes the way back exact: `raw_headers` (240 bytes a trace), `trace_number` (its place in the
file), the bytes before and after the traces, and `raw_samples` of the traces that 4-byte floats do not hold exactly.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AafastError, FileError, FormatError, describe, require
from . import mdio_tiles
from .files import AtomicFile, HiddenFolder
from .layout import TRACE
from .mdio_store import MARK, local, open_group, open_store
from .mdio_tiles import tiles
from .samples import decode, encode
from .segy import Survey
from .text import decode as decode_text

_SPARSE = 4  # cells per trace above which a grid is stored as a line


def is_mdio(name: str | Path) -> bool:
    """Whether a name means an MDIO store: by its ending, as a URL, or as a folder that Zarr has made."""
    text = str(name).rstrip("/")
    made = os.path.exists(os.path.join(text, "zarr.json")) or os.path.exists(os.path.join(text, ".zgroup"))
    return text.endswith((".mdio", ".zarr")) or "://" in text or made


def check_new(target: str | Path) -> None:
    """Raise FileError where there is a store of this name already, or no folder to make it in."""
    place = local(target)
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
        for tile in tiles(places.shape, survey.layout.samples):
            there = places[tile] >= 0
            if there.any():
                inexact += _write_tile(survey, arrays, group, tile, places[tile], there)
        layout = survey.layout
        group.attrs[MARK] = {
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


def _create(group, survey: Survey, places: np.ndarray, coordinates: dict[str, np.ndarray]) -> dict[str, Any]:
    """All arrays of a store, those of the grid's size empty."""
    layout = survey.layout
    names = tuple(coordinates)
    side = tuple(min(mdio_tiles.TILE if places.ndim == 2 else mdio_tiles.LINE, n) for n in places.shape)

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
        "amplitude": make("amplitude", "float32", np.nan, ("time", layout.samples, mdio_tiles.DEPTH)),
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
    place = local(target)
    if "://" in place:
        try:
            group = zarr.create_group(place, attributes=facts, overwrite=False)
        except Exception as error:  # each kind of store has errors of its own
            raise FileError(describe(f"output {target}", f"{type(error).__name__}: {error}", "a new store",
                                     "Choose another name, and check the access to it")) from error
        yield group
        return
    with HiddenFolder(place) as folder:
        try:
            yield zarr.create_group(str(folder.temporary), attributes=facts, overwrite=True)
            folder.commit()
        except AafastError:
            raise
        except OSError as error:
            raise FileError(describe(f"output {folder.path}", error.strerror or error, "a complete store",
                                     "Check the disk; nothing was left under this name")) from error


def _to_text(raw: np.ndarray) -> str:
    return base64.b64encode(raw.tobytes()).decode("ascii")


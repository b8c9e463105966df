"""Headers of a SEG-Y file for a survey that never was one: an MDIO store made elsewhere."""

from __future__ import annotations

import struct

import numpy as np

from ..errors import FormatError, describe
from .layout import TRACE

_SCALAR = -100  # coordinates are kept to the centimetre


def make_head(group, amplitude: str) -> bytes:
    """Text header (ASCII) and binary header, revision 1, big-endian, 4-byte IEEE floats."""
    samples, interval, _ = axis_of(group, amplitude)
    lines = [f"C{k:2d} ".ljust(80) for k in range(1, 41)]
    lines[0] = "C 1 WRITTEN BY AAFAST FROM AN MDIO STORE".ljust(80)
    lines[1] = "C 2 INLINE AT BYTE 189, CROSSLINE AT 193, X AT 181, Y AT 185".ljust(80)
    binary = bytearray(400)
    for place, value in ((16, round(interval * 1000)), (20, samples), (24, 5), (300, 0x0100), (302, 1)):
        struct.pack_into(">H", binary, place, value)
    return "".join(lines).encode("ascii") + bytes(binary)


def make_headers(group, amplitude: str, tile: tuple[slice, ...], there: np.ndarray, samples: int) -> np.ndarray:
    """Trace headers [n, 240] of a tile's traces: numbers of their axes, coordinates, delay, samples, interval."""
    _, interval, start = axis_of(group, amplitude)
    headers = np.zeros((int(there.sum()), TRACE), np.uint8)

    def put(byte: int, values: object, form: str) -> None:
        column = np.broadcast_to(np.asarray(values), (headers.shape[0],)).astype(form)
        headers[:, byte - 1:byte - 1 + column.itemsize] = column[:, None].view(np.uint8).reshape(headers.shape[0], -1)

    names = group[amplitude].metadata.dimension_names
    for axis, name in enumerate(names[:-1]):
        numbers = group[name][tile[axis]] if name in group else np.arange(*tile[axis].indices(there.shape[axis])) + 1
        shape = [1] * there.ndim
        shape[axis] = -1
        values = np.broadcast_to(np.asarray(numbers).reshape(shape), there.shape)[there]
        put({"inline": 189, "crossline": 193}.get(name, 21), values, ">i4")
    for name, byte in (("cdp_x", 181), ("cdp_y", 185)):
        if name in group:
            values = np.nan_to_num(np.asarray(group[name][tile], np.float64)[there] * -_SCALAR)
            put(byte, np.clip(np.rint(values), -(2**31), 2**31 - 1), ">i4")
    put(29, 1, ">i2")
    put(71, _SCALAR, ">i2")
    put(109, round(start), ">i2")
    put(115, samples, ">u2")
    put(117, round(interval * 1000), ">u2")
    return headers


def axis_of(group, amplitude: str) -> tuple[int, float, float]:
    """Samples, interval and first time in ms, as far as a SEG-Y header can tell them."""
    samples = group[amplitude].shape[-1]
    name = (group[amplitude].metadata.dimension_names or ("time",))[-1]
    times = np.asarray(group[name][...], np.float64) if name in group else np.empty(0)
    interval = float(np.median(np.diff(times))) if times.size > 1 else 0.0
    start = float(times[0]) if times.size else 0.0
    if not (0 < round(interval * 1000) < 2**16 and samples < 2**16 and abs(start) < 2**15):
        raise FormatError(describe(f"axis {name}", f"{samples} samples at {interval:g} ms from {start:g} ms",
                                   "what a SEG-Y header holds: under 65536 samples, under 65 ms", "Cut the survey"))
    return samples, interval, start

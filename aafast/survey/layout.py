"""What a SEG-Y file claims in its headers, checked against its size before anything is read."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError, FormatError, describe

TEXT, BINARY, TRACE = 3200, 400, 240  # bytes of a text header, the binary header, a trace header


@dataclass(frozen=True)
class Format:
    """A sample format: SEG-Y code, words, bytes per sample, and for integers the largest magnitude."""

    code: int
    name: str
    size: int
    largest: int | None = None


FORMATS = {
    f.code: f
    for f in (
        Format(1, "4-byte IBM float", 4),
        Format(2, "4-byte integer", 4, 2**31 - 1),
        Format(3, "2-byte integer", 2, 2**15 - 1),
        Format(5, "4-byte IEEE float", 4),
        Format(6, "8-byte IEEE float", 8),
        Format(8, "1-byte integer", 1, 2**7 - 1),
    )
}
_REFUSED = {
    4: "fixed point with gain",
    7: "3-byte integer",
    9: "8-byte integer",
    10: "unsigned 4-byte integer",
    11: "unsigned 2-byte integer",
    12: "unsigned 8-byte integer",
    15: "unsigned 3-byte integer",
    16: "unsigned 1-byte integer",
}


@dataclass(frozen=True)
class Layout:
    """The facts of a SEG-Y file that fit its size: everything needed to read it.

    size: bytes. endian: "big" or "little". samples: per trace. interval: ms. extended: number of extended
    text headers. traces: number. t0: ms, time of the first sample. warnings: what is odd but harmless.
    """

    path: Path
    size: int
    endian: str
    format: Format
    samples: int
    interval: float
    extended: int
    traces: int
    t0: float
    warnings: tuple[str, ...]

    @property
    def data(self) -> int:
        """Byte at which the first trace header starts."""
        return TEXT + BINARY + TEXT * self.extended

    @property
    def stride(self) -> int:
        """Bytes from one trace to the next: its header and its samples."""
        return TRACE + self.samples * self.format.size


def inspect(path: str | Path, interval: float | None = None) -> Layout:
    """Read the headers of a SEG-Y file and check them against its size; no more than 4 kB are read.

    interval: ms, to use instead of what the binary header says. Raises FileError where the file is missing,
    unreadable, empty or truncated, FormatError where it is not SEG-Y or of a kind that cannot be read.
    """
    path = Path(path)
    size, head = _read_head(path)
    endian, form = _sample_format(path, head)
    word = ">" if endian == "big" else "<"
    dt, samples, extended, revision = _binary_header(path, head, word, interval)
    data = TEXT + BINARY + TEXT * extended
    stride = TRACE + samples * form.size
    traces, rest = divmod(size - data, stride)
    if size < data + stride or rest:
        got = f"{max(size - data, 0)} bytes after the headers"
        got += f": {traces} whole traces and {rest} bytes more" if size >= data + stride else ""
        raise FileError(describe(f"{path}", got, f"whole traces of {samples} samples, {stride} bytes each",
                                 "It is truncated, not SEG-Y, or its traces differ in length; copy it again"))
    with open(path, "rb") as handle:
        handle.seek(data)
        trace = handle.read(TRACE)
    warnings = []
    length, spacing = struct.unpack(word + "HH", trace[114:118])
    if length not in (0, samples):
        warnings.append(f"trace header says {length} samples; {samples} of the binary header fit the file")
    if spacing not in (0, round(dt * 1000)):
        warnings.append(f"trace header says {spacing} us between samples; {dt * 1000:g} us are used")
    delay, = struct.unpack(word + "h", trace[108:110])
    scalar, = struct.unpack(word + "h", trace[214:216]) if revision >= 1 else (0,)
    t0 = float(delay * scalar) if scalar > 0 else delay / -scalar if scalar < 0 else float(delay)
    return Layout(path, size, endian, form, samples, dt, extended, traces, t0, tuple(warnings))


def _read_head(path: Path) -> tuple[int, bytes]:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise FileError(describe(f"{path}", "not a plain file", "a SEG-Y file", "Give a file's name"))
        with open(path, "rb") as handle:
            head = handle.read(TEXT + BINARY)
    except FileError:
        raise
    except OSError as error:
        raise FileError(describe(f"{path}", error.strerror, "a readable SEG-Y file",
                                 "Check the name")) from error
    if len(head) < TEXT + BINARY:
        got = "an empty file" if not head else f"{len(head)} bytes"
        raise FileError(describe(f"{path}", got, f"at least the {TEXT + BINARY} bytes of SEG-Y headers",
                                 "The file is truncated or not SEG-Y; copy it again"))
    return status.st_size, head


def _sample_format(path: Path, head: bytes) -> tuple[str, Format]:
    """Byte order and format: the order in which the format code of byte 3225 has a meaning."""
    codes = {endian: int.from_bytes(head[3224:3226], endian) for endian in ("big", "little")}
    for endian, code in codes.items():
        if code in FORMATS:
            return endian, FORMATS[code]
    expected = ", ".join(f"{f.code} ({f.name})" for f in FORMATS.values())
    for code in codes.values():
        if code in _REFUSED:
            raise FormatError(describe(f"{path}: sample format code", f"{code} ({_REFUSED[code]})", expected,
                                       "Convert the file to 4-byte floats, which can hold the result"))
    raise FormatError(describe(f"{path}: sample format code at byte 3225", codes["big"], expected,
                               "Check that this is a SEG-Y file"))


def _binary_header(path: Path, head: bytes, word: str, interval: float | None) -> tuple[float, int, int, int]:
    microseconds, = struct.unpack(word + "H", head[3216:3218])
    samples, = struct.unpack(word + "H", head[3220:3222])
    extended, = struct.unpack(word + "h", head[3504:3506])
    revision = head[3500] if word == ">" else max(head[3500], head[3501])
    if revision >= 2:
        more, = struct.unpack(word + "I", head[3268:3272])
        samples = more or samples
    if interval is None and microseconds == 0:
        raise FormatError(describe(f"{path}: sample interval at byte 3217", "0", "microseconds, above 0",
                                   "Repair the header, or give the interval with --sample-interval MS"))
    if interval is not None and not 0 < interval < 1e4:
        raise FormatError(describe("sample interval", f"{interval} ms", "above 0 and below 10000 ms",
                                   "Give it in milliseconds"))
    if samples == 0:
        raise FormatError(describe(f"{path}: samples per trace at byte 3221", "0", "1 or more",
                                   "Check that this is a SEG-Y file"))
    if extended < 0:
        raise FormatError(describe(f"{path}: extended text headers at byte 3505",
                                   f"{extended} (a variable number)", "0 or more",
                                   "Rewrite the file with a fixed number of text headers"))
    return interval or microseconds / 1000, samples, extended, revision

"""What a SEG-Y file claims in its headers, checked against its size before anything is read."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError, FormatError, describe

TEXT, BINARY, TRACE = 3200, 400, 240  # bytes of a text header, the binary header, a trace header
LONGEST = 1 << 20  # samples: 17 minutes at 1 ms; a trace that claims more is no trace, and a patch of it no image
_SCALARS = (1, 10, 100, 1000, 10000)


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
    text headers. traces: number. t0: ms, time of the first sample. warnings: what is odd but harmless. tail:
    bytes of text after the last trace.
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
    tail: int = 0

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
    revision = _revision(head, endian)
    dt = _interval(path, head, word, revision, interval)
    samples = _samples(path, head, word, revision)
    stride = TRACE + samples * form.size
    extended, tail = _text_around(path, head, word, revision, size, stride)
    data = TEXT + BINARY + TEXT * extended
    traces, rest = divmod(size - data - tail, stride)
    if size < data + stride + tail or rest:
        got = f"{max(size - data - tail, 0)} bytes after the headers"
        got += f": {traces} whole traces and {rest} bytes more" if size >= data + stride + tail else ""
        raise FileError(describe(f"{path}", got, f"whole traces of {samples} samples, {stride} bytes each",
                                 "It is truncated, not SEG-Y, or its traces differ in length; copy it again"))
    if samples > LONGEST:
        raise FormatError(describe(f"{path}: samples per trace", samples, f"at most {LONGEST}",
                                   "Check that this is a SEG-Y file"))
    with open(path, "rb") as handle:
        handle.seek(data)
        trace = handle.read(TRACE)
    if len(trace) < TRACE:
        raise FileError(describe(f"{path}", "a file that has become shorter", f"{size} bytes", "Copy it again"))
    warnings = []
    length, spacing = struct.unpack(word + "HH", trace[114:118])
    if length not in (0, samples):
        warnings.append(f"trace header says {length} samples; {samples} of the binary header fit the file")
    if spacing not in (0, round(dt * 1000)):
        warnings.append(f"trace header says {spacing} us between samples; {dt * 1000:g} us are used")
    delay, = struct.unpack(word + "h", trace[108:110])
    scalar, = struct.unpack(word + "h", trace[214:216]) if revision >= 1 else (0,)
    scalar = scalar if abs(scalar) in _SCALARS else 0  # anything else has no meaning: old files keep other things here
    t0 = float(delay * scalar) if scalar > 0 else delay / -scalar if scalar < 0 else float(delay)
    return Layout(path, size, endian, form, samples, dt, extended, traces, t0, tuple(warnings), tail)


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


def _revision(head: bytes, endian: str) -> int:
    """0, 1 or 2; anything else in these bytes is what old files leave there."""
    major = head[3500] if endian == "big" or head[3500] in (1, 2) else head[3501]
    return major if major in (1, 2) else 0


def _interval(path: Path, head: bytes, word: str, revision: int, interval: float | None) -> float:
    """Milliseconds between samples: as given, else from the binary header."""
    if interval is not None:
        if not 0 < interval < 1e4:
            raise FormatError(describe("sample interval", f"{interval} ms", "above 0 and below 10000 ms",
                                       "Give it in milliseconds"))
        return interval
    microseconds, = struct.unpack(word + "H", head[3216:3218])
    if revision >= 2:
        exact, = struct.unpack(word + "d", head[3272:3280])
        if 1 <= exact < 1e7 and abs(exact - microseconds) < 1:  # a finer number for the same interval
            return exact / 1000
    if microseconds == 0:
        raise FormatError(describe(f"{path}: sample interval at byte 3217", "0", "microseconds, above 0",
                                   "Repair the header, or give the interval with --sample-interval MS"))
    return microseconds / 1000


def _samples(path: Path, head: bytes, word: str, revision: int) -> int:
    samples, = struct.unpack(word + "H", head[3220:3222])
    if revision >= 2:
        more, = struct.unpack(word + "I", head[3268:3272])
        samples = more or samples
    if samples == 0:
        raise FormatError(describe(f"{path}: samples per trace at byte 3221", "0", "1 or more",
                                   "Check that this is a SEG-Y file"))
    return samples


def _text_around(path: Path, head: bytes, word: str, revision: int, size: int, stride: int) -> tuple[int, int]:
    """Extended text headers, and bytes of text after the traces."""
    extended, = struct.unpack(word + "h", head[3504:3506])
    whole = size - TEXT - BINARY
    rest = whole - TEXT * extended
    if revision == 0 and not whole % stride and (extended < 0 or rest < stride or rest % stride):
        extended = 0  # this revision knows no such headers, and without them the file is whole
    if extended < 0:
        raise FormatError(describe(f"{path}: extended text headers at byte 3505",
                                   f"{extended} (a variable number)", "0 or more",
                                   "Rewrite the file with a fixed number of text headers"))
    if revision < 2:
        return extended, 0
    more, = struct.unpack(word + "i", head[3506:3510])
    first, = struct.unpack(word + "Q", head[3520:3528])
    stanzas, = struct.unpack(word + "i", head[3528:3532])
    if more > 0 or first not in (0, TEXT + BINARY + TEXT * extended):
        got = f"{more} more headers per trace" if more > 0 else f"a first trace at byte {first}"
        raise FormatError(describe(f"{path}: revision 2", got, "one header per trace, right after the text headers",
                                   "Rewrite the file as revision 1"))
    return extended, TEXT * max(0, stanzas)

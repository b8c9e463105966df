"""How two surveys differ: samples, headers, size; gone through in pieces, so that their size does not matter.

An MDIO store is compared as the SEG-Y file that it stands for, tile by tile, and the traces of a tile are looked up in
the other survey: neither is converted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, describe
from .layout import BINARY, TEXT, TRACE, Format
from .mdio import is_mdio
from .mdio_store import MdioStore, open_store
from .samples import decode
from .segy import Survey
from .text import WIDTH

_CHUNK = 4 << 20  # bytes of each file held at once


@dataclass(frozen=True)
class Comparison:
    """What differs between survey A and survey B.

    shape_a, shape_b: samples, traces; where they are not the same nothing else is compared. largest: max |a - b|, NaN
    beside a number counts as infinite. where: its trace and sample, from 1, or None. relative: largest / max |a|.
    rms: RMS of a - b / RMS of a. samples, traces: how many differ at all. text_lines, binary_bytes, trace_bytes: lines
    and bytes, from 1, that differ in the text, the binary and any trace header. headers: traces whose header differs.
    notes: differences of format, byte order, interval or first sample.
    """

    shape_a: tuple[int, int]
    shape_b: tuple[int, int]
    largest: float
    where: tuple[int, int] | None
    relative: float
    rms: float
    samples: int
    traces: int
    text_lines: list[int]
    binary_bytes: list[int]
    trace_bytes: list[int]
    headers: int
    notes: list[str]

    def is_within(self, tolerance: float, headers: bool = False) -> bool:
        """Whether `relative` is at most `tolerance` and, with `headers`, no header differs."""
        same = not (self.text_lines or self.binary_bytes or self.headers)
        return self.shape_a == self.shape_b and self.relative <= tolerance and (same or not headers)

    def summary(self) -> str:
        """The same in a few lines."""
        if self.shape_a != self.shape_b:
            return "size       {} samples x {} traces, and {} x {}".format(*self.shape_a, *self.shape_b)
        lines = [f"size       {self.shape_a[0]} samples x {self.shape_a[1]} traces"]
        if self.samples:
            trace, sample = self.where or (0, 0)
            lines += [
                f"samples    {self.samples} differ, in {self.traces} traces",
                f"largest    {self.largest:.6g} at trace {trace}, sample {sample}; {self.relative:.3g} of the largest",
                f"rms        {self.rms:.3g} of that of the first",
            ]
        else:
            lines.append("samples    all equal")
        for name, places, unit in (("text", self.text_lines, "lines"), ("binary", self.binary_bytes, "bytes")):
            lines.append(f"{name.ljust(10)} " + (f"{unit} {_ranges(places)} differ" if places else "equal"))
        of = f"bytes {_ranges(self.trace_bytes)} differ, in {self.headers} traces" if self.headers else "equal"
        return "\n".join([*lines, f"headers    {of}", *(f"note       {note}" for note in self.notes)])

    def as_dict(self) -> dict:
        """Its fields, numbers that are not finite as words, for JSON."""
        def plain(value):
            return str(value) if isinstance(value, float) and not math.isfinite(value) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def compare_surveys(a: str | Path, b: str | Path) -> Comparison:
    """Compare two surveys, SEG-Y files of any formats or MDIO stores, trace by trace in file order.

    Raises FileError, FormatError where one of them cannot be read.
    """
    with ExitStack() as stack:
        first, second = (_open(name, stack) for name in (a, b))
        a_shape, b_shape = ((s.facts.samples, s.facts.traces) for s in (first, second))
        notes = _notes(first.facts, second.facts)
        if a_shape != b_shape:
            return Comparison(a_shape, b_shape, math.inf, None, math.inf, math.inf, 0, 0, [], [], [], 0, notes)
        heads = [s.head() for s in (first, second)]
        counts = _Counts(a_shape[0])
        step = max(1, _CHUNK // max(first.facts.stride, second.facts.stride))
        for numbers in (second if isinstance(first, _File) and isinstance(second, _Store) else first).pieces(step):
            counts.add(numbers, *(_split(s, numbers) for s in (first, second)))
        lines = _differing(heads[0][:TEXT], heads[1][:TEXT])
        if not np.array_equal(heads[0][TEXT + BINARY:], heads[1][TEXT + BINARY:]):
            notes.append("the extended text headers differ")
        return Comparison(
            a_shape, b_shape, *counts.amplitudes(), counts.samples, counts.traces,
            sorted({k // WIDTH + 1 for k in lines}),
            [k + 1 + TEXT for k in _differing(*(h[TEXT:TEXT + BINARY] for h in heads))],
            (np.flatnonzero(counts.bytes) + 1).tolist(), counts.headers, notes,
        )  # fmt: skip


@dataclass(frozen=True)
class _Facts:
    """What a survey is; extended: number of extended text headers; interval, t0: ms; stride: bytes of a trace."""

    samples: int
    traces: int
    form: Format
    endian: str
    interval: float
    t0: float
    extended: int

    @property
    def stride(self) -> int:
        return TRACE + self.samples * self.form.size


class _File:
    """A SEG-Y file."""

    def __init__(self, survey: Survey) -> None:
        self._survey, layout = survey, survey.layout
        self.facts = _Facts(layout.samples, layout.traces, layout.format, layout.endian, layout.interval, layout.t0,
                            layout.extended)  # fmt: skip

    def head(self) -> np.ndarray:
        return self._survey.head()

    def pieces(self, step: int) -> Iterator[np.ndarray]:
        for start in range(0, self.facts.traces, step):
            yield np.arange(start, min(start + step, self.facts.traces))

    def gather(self, traces: np.ndarray) -> np.ndarray:
        return self._survey.gather(traces)


class _Store:
    """An MDIO store; its pieces are its tiles, in the order of which it is best read."""

    def __init__(self, store: MdioStore) -> None:
        self._store = store
        extended = (len(store.head) - TEXT - BINARY) // TEXT
        self.facts = _Facts(store.samples, store.traces, store.form, store.endian, store.interval, store.t0, extended)

    def head(self) -> np.ndarray:
        return np.frombuffer(self._store.head, np.uint8)

    def pieces(self, step: int) -> Iterator[np.ndarray]:
        for numbers in self._store.pieces():
            yield np.sort(numbers)

    def gather(self, traces: np.ndarray) -> np.ndarray:
        return self._store.gather(traces)


def _open(name: str | Path, stack: ExitStack) -> _File | _Store:
    if is_mdio(name):
        return _Store(open_store(name))
    return _File(stack.enter_context(Survey(name)))


def check_tolerance(tolerance: float) -> None:
    """Raise InputError unless `tolerance` is a number of 0 or more."""
    if not tolerance >= 0:
        raise InputError(describe("tolerance", tolerance, "0 or more", "Choose another number"))


class _Counts:
    """Sums over the pieces of two surveys."""

    def __init__(self, samples: int) -> None:
        self._width = samples
        self._largest, self._peak = 0.0, 0.0
        self._where: tuple[int, int] | None = None
        self._power = np.zeros(2)
        self.samples = self.traces = self.headers = 0
        self.bytes = np.zeros(TRACE, bool)

    def add(
        self, numbers: np.ndarray, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Count traces [n], in rising order: headers [n, 240] and samples [n, T] of each survey."""
        changed = a[0] != b[0]
        self.bytes |= changed.any(0)
        self.headers += int(changed.any(1).sum())
        x, y = (part[1].astype(np.float64) for part in (a, b))
        alike = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            size = np.where(alike, 0.0, np.abs(x - y))
        size[np.isnan(size)] = np.inf  # NaN beside a number
        self.samples += int((~alike).sum())
        self.traces += int((~alike).any(1).sum())
        place = int(size.argmax())
        here = int(numbers[place // self._width]) + 1, place % self._width + 1
        largest = float(size.flat[place])
        first = self._where is None or here < self._where
        if largest > self._largest or (largest == self._largest > 0 and first):
            self._largest, self._where = largest, here
        finite = np.where(np.isfinite(x), x, 0.0)
        self._peak = max(self._peak, float(np.abs(finite).max()))
        self._power += np.square(size).sum(), np.square(finite).sum()

    def amplitudes(self) -> tuple[float, tuple[int, int] | None, float, float]:
        """Largest difference, where it is, relative, RMS."""
        def share(part: float, whole: float) -> float:
            return 0.0 if part == 0 else math.inf if whole == 0 else part / whole

        rms = math.sqrt(share(*self._power.tolist()))
        return self._largest, self._where, share(self._largest, self._peak), rms


def _split(survey: _File | _Store, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, facts = survey.gather(numbers), survey.facts
    return rows[:, :TRACE], decode(np.ascontiguousarray(rows[:, TRACE:]), facts.form, facts.endian)


def _notes(a: _Facts, b: _Facts) -> list[str]:
    facts = {
        "format": (a.form.name, b.form.name),
        "byte order": (a.endian, b.endian),
        "sample interval": (f"{a.interval:g} ms", f"{b.interval:g} ms"),
        "first sample": (f"{a.t0:g} ms", f"{b.t0:g} ms"),
        "extended text headers": (a.extended, b.extended),
    }
    return [f"{name}: {one} and {other}" for name, (one, other) in facts.items() if one != other]


def _differing(a: np.ndarray, b: np.ndarray) -> list[int]:
    return np.flatnonzero(a != b).tolist()


def _ranges(places: list[int]) -> str:
    """`1-3, 7` of [1, 2, 3, 7]; at most eight of them."""
    cuts = np.split(np.asarray(places), np.flatnonzero(np.diff(places) != 1) + 1)
    words = [f"{c[0]}-{c[-1]}" if c.size > 1 else f"{c[0]}" for c in cuts]
    return ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")

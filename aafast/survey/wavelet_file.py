"""Read a wavelet from a text file of one or two columns."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..errors import FileError, FormatError, InputError, describe
from .wavelet import TAPS, Wavelet, check_length, make_wavelet, ricker

_LARGEST = 1 << 20  # bytes; a wavelet of 2000 taps is under 100 kB
_SECONDS = 0.05  # a step below this can only be seconds: no survey is sampled at 0.05 ms


def parse_wavelet(
    spec: str, dt: float, samples_limit: int, taps: int = TAPS, polarity: int = 1
) -> Wavelet | None:
    """Turn `auto`, `ricker:HZ` or a file name into a Wavelet; None for `auto`, which needs the data.

    dt: ms of the data. samples_limit: samples of a trace. polarity: 1 leaves a given wavelet as it is, -1
    flips it. Raises InputError for a wrong number, NaN, a wavelet longer than the trace or at another
    interval.
    """
    spec = str(spec)
    if spec == "auto":
        return None
    if spec.startswith("ricker:"):
        try:
            frequency = float(spec[len("ricker:"):])
        except ValueError:
            raise InputError(describe("wavelet", repr(spec), "ricker:HZ with a number",
                                      "Write e.g. ricker:25")) from None
        wavelet = ricker(frequency, dt, samples_limit, taps)
    elif spec == "ricker":
        raise InputError(describe("wavelet", "'ricker'", "ricker:HZ", "Write e.g. ricker:25"))
    else:
        wavelet = read_wavelet(Path(spec), dt, samples_limit)
    if polarity < 0:
        wavelet = make_wavelet(-wavelet.samples, dt, wavelet.source, wavelet.notes)
    return wavelet


def read_wavelet(path: Path, dt: float, samples_limit: int) -> Wavelet:
    """Read `amplitude` or `time amplitude` per line; lines of words before and after the numbers are skipped.

    Time may be in ms or s (told by its step) and must have the data's sample interval `dt` (ms). The centre
    is time zero where the times hold one inside, else the largest value of the envelope. samples_limit:
    samples of a trace. Returns unit l2 norm. Raises FileError, FormatError, InputError.
    """
    rows = _read_rows(path)
    source = path.name
    if rows.shape[1] == 1:
        time, amplitude = None, rows[:, 0]
    else:
        time, amplitude = rows[:, 0], rows[:, 1]
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if bad.size:
        raise InputError(describe(f"wavelet {source}", f"NaN or Inf in row {bad[0] + 1}", "finite numbers",
                                  "Repair the file"))
    check_length(amplitude.size, samples_limit, source)
    if not amplitude.any():
        raise InputError(describe(f"wavelet {source}", "only zeros", "a row that is not zero",
                                  "Give another file"))
    centre = None if time is None else _time_zero(time, dt, source)
    if centre is None:
        centre = int(_envelope(amplitude).argmax())
    taps = _trim(_around(amplitude, centre))
    if taps.size < 3:
        taps = np.pad(taps, 1)
    check_length(taps.size, samples_limit, f"{source}, made symmetric about its centre,")
    return make_wavelet(taps, dt, source)


def _read_rows(path: Path) -> np.ndarray:
    """The file's numbers [n, 1 or 2]."""
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise FormatError(describe(f"wavelet file {path}", f"{size} bytes", "a text file under 1 MB",
                                       "Give a file of one or two columns"))
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FileError(describe(f"wavelet file {path}", error.strerror, "a readable text file",
                                 "Check the name, or write auto or ricker:HZ")) from error
    except UnicodeDecodeError as error:
        raise FormatError(describe(f"wavelet file {path}", "bytes that are not text", "one or two columns",
                                   "Export the wavelet as text")) from error
    rows: list[list[float]] = []
    ended = False
    for number, line in enumerate(text.splitlines(), 1):
        values = _numbers(line)
        if values is None:
            ended = ended or bool(rows and line.strip())
            continue
        if ended or len(values) > 2 or (rows and len(values) != len(rows[0])):
            raise FormatError(describe(f"wavelet file {path}", f"line {number}: {line.strip()[:60]!r}",
                                       "one table of one or two columns", "Remove what does not belong"))
        rows.append(values)
    if len(rows) < 3:
        raise FormatError(describe(f"wavelet file {path}", f"{len(rows)} rows of numbers", "3 or more",
                                   "Give one or two columns: time and amplitude"))
    return np.asarray(rows)


def _numbers(line: str) -> list[float] | None:
    parts = [part for part in re.split(r"[\s,;]+", line) if part]
    try:
        return [float(part) for part in parts] or None
    except ValueError:
        return None


def _time_zero(time: np.ndarray, dt: float, source: str) -> int | None:
    """Row of time zero if the times cross it; the step must be `dt` ms."""
    steps = np.diff(time)
    step = float(np.median(steps))
    if not step > 0 or not np.allclose(steps, step, rtol=0.02, atol=0):
        raise InputError(describe(f"wavelet {source}", "times that are not evenly spaced and increasing",
                                  "one step from row to row", "Resample the wavelet"))
    scale = 1000.0 if step < _SECONDS else 1.0
    step = float(time[-1] - time[0]) / (time.size - 1)
    if not math.isclose(step * scale, dt, rel_tol=1e-3):
        raise InputError(describe(f"wavelet {source}", f"sample interval {step * scale:g} ms",
                                  f"that of the data, {dt:g} ms", f"Resample the wavelet to {dt:g} ms"))
    if not time[0] < 0 < time[-1]:
        return None
    row = round(-time[0] / step)
    if abs(time[row]) > 0.1 * step:
        raise InputError(describe(f"wavelet {source}", f"time {time[row]:g} nearest to zero",
                                  "a row at time zero",
                                  "Resample the wavelet so that time zero is a row"))
    return row


def _envelope(amplitude: np.ndarray) -> np.ndarray:
    size = 4 * amplitude.size
    spectrum = np.fft.fft(amplitude, size)
    spectrum[1:size // 2] *= 2
    spectrum[size // 2 + 1:] = 0
    return np.abs(np.fft.ifft(spectrum))[: amplitude.size]


def _around(amplitude: np.ndarray, centre: int) -> np.ndarray:
    half = max(centre, amplitude.size - 1 - centre)
    return np.pad(amplitude, (half - centre, half - (amplitude.size - 1 - centre)))


def _trim(taps: np.ndarray) -> np.ndarray:
    """Drop ends that hold less than a millionth of the energy."""
    half = taps.size // 2
    energy = taps**2
    outside = energy[:half] + energy[:half:-1]  # pairs at the same distance, the farthest first
    keep = np.flatnonzero(np.cumsum(outside) > 1e-6 * energy.sum())
    cut = int(keep[0]) if keep.size else half
    return taps[cut:taps.size - cut]

"""Tie the wavelet to a well: its phase is the one whose synthetic trace fits the data best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FileError, FormatError, InputError, describe, require
from .wavelet import Wavelet, make_wavelet

_LARGEST = 1 << 28  # bytes of a LAS file
_LONGEST = 1e5  # ms of two-way time that logs may span
_FOOT = 0.3048
_SONIC, _DENSITY = ("DT", "DTC", "DTCO", "AC", "SONIC"), ("RHOB", "DEN", "RHOZ", "ZDEN", "DENSITY")
_SEARCH = 100.0  # ms to either side of the time that is given
_BESIDE = 2  # traces to either side that are averaged with the well's
_SURE = 0.5  # correlation below which a tie decides nothing


@dataclass(frozen=True)
class Well:
    """A well at a trace: name, reflectivity [n] at the survey's interval from its first valid depth on, trace (from
    1, in file order), and the two-way time in ms at which it starts, if that is known."""

    name: str
    reflectivity: np.ndarray
    trace: int
    start: float | None


def parse_well(spec: str, dt: float) -> Well:
    """Read `FILE.las@TRACE` or `FILE.las@TRACE:MS`: a LAS file, the trace that the well stands at, and the two-way
    time of its first valid sample where that is known to 100 ms. dt: ms. Raises InputError, FileError, FormatError."""
    name, _, place = str(spec).rpartition("@")
    trace, _, start = place.partition(":")
    try:
        number, time = int(trace), float(start) if start else None
        if not name or number < 1 or (time is not None and not math.isfinite(time)):
            raise ValueError
    except ValueError:
        raise InputError(describe("well", repr(spec), "FILE.las@TRACE or FILE.las@TRACE:MS",
                                  "Write e.g. well.las@120:850")) from None
    depth, sonic, density = read_las(Path(name))
    return Well(Path(name).name, reflectivity(depth, sonic, density, dt), number, time)


def read_las(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Depth [n] in m, sonic [n] in us/m and density [n] in g/cm3 (None if there is none) of a LAS file, where all are
    valid. Raises FileError, FormatError, MissingDependency."""
    lasio = require("lasio", extra="wells")
    try:
        if path.stat().st_size > _LARGEST:
            raise FormatError(describe(f"well {path}", f"{path.stat().st_size} bytes", "under 256 MB",
                                       "Give the logs of one well"))
        las = lasio.read(str(path), engine="normal")
        curves = {curve.mnemonic.upper(): curve for curve in las.curves}
        numbers = {name: np.asarray(curve.data, np.float64) for name, curve in curves.items()
                   if name in (*_SONIC, *_DENSITY)}  # fmt: skip
        depth = np.asarray(las.index, np.float64)
    except OSError as error:
        raise FileError(describe(f"well {path}", error.strerror, "a readable LAS file", "Check the name")) from error
    except FormatError:
        raise
    except Exception as error:  # lasio raises many kinds for what is no LAS file, and leaves words among numbers
        raise FormatError(describe(f"well {path}", f"{type(error).__name__}: {error}", "a LAS file",
                                   "Export the logs as LAS 2.0")) from error
    sonic, density = (next((n for n in names if n in curves), None) for names in (_SONIC, _DENSITY))
    if sonic is None or not depth.size:
        raise FormatError(describe(f"well {path}: curves", sorted(curves), f"a sonic log: one of {', '.join(_SONIC)}",
                                   "Name it so"))
    values = [depth, numbers[sonic]]
    values[0] = values[0] * (_FOOT if "F" in str(las.curves[0].unit).upper() else 1.0)
    values[1] = values[1] / (_FOOT if "F" in str(curves[sonic].unit).upper() else 1.0)
    valid = np.isfinite(values[0]) & (values[1] > 100) & (values[1] < 1500)  # us/m: 10 000 to 670 m/s
    if density is not None:
        values.append(numbers[density])
        known = values[2][np.isfinite(values[2])]
        values[2] = values[2] / (1000.0 if known.size and np.median(known) > 100 else 1.0)  # kg/m3
        valid &= (values[2] > 1) & (values[2] < 4)
    order = np.argsort(values[0][valid])
    depth, *logs = (v[valid][order] for v in values)
    if depth.size < 2:
        raise FormatError(describe(f"well {path}", f"{depth.size} valid depths", "2 or more", "Check the logs"))
    return depth, logs[0], logs[1] if density is not None else None


def reflectivity(depth: np.ndarray, sonic: np.ndarray, density: np.ndarray | None, dt: float) -> np.ndarray:
    """Reflectivity [n] = half the step of ln impedance, impedance averaged over samples of dt ms of two-way time.

    t = 2 sum DT dz; Z = rho v, rho by Gardner (0.31 v^0.25) where density is None. depth: m, sonic: us/m.
    """
    velocity = 1e6 / sonic
    density = 0.31 * velocity**0.25 if density is None else density
    steps = np.diff(depth) * (sonic[1:] + sonic[:-1]) * 1e-3  # ms of two-way time
    time = np.concatenate([[0.0], np.cumsum(steps)])
    if not 2 * dt <= time[-1] <= _LONGEST:
        raise InputError(describe("well", f"logs of {time[-1]:.1f} ms", f"{2 * dt:g} to {_LONGEST:g} ms",
                                  "Check the depths, or give longer logs"))
    count = int(time[-1] / dt)
    # The mean over a sample is the difference of the running integral at its ends: thin layers are not skipped.
    level = np.log(velocity * density)
    integral = np.concatenate([[0.0], np.cumsum(steps * (level[1:] + level[:-1]) / 2)])
    mean = np.diff(np.interp(dt * np.arange(count + 1), time, integral)) / dt
    return np.diff(mean) / 2


def tie(wavelet: Wavelet, well: Well, data: np.ndarray, t0: float) -> Wavelet:
    """The wavelet with its amplitude spectrum kept and the constant phase of the best tie, noted in `notes`.

    For each start the synthetic cos(phi) s + sin(phi) H s, s = w0 * r with w0 the zero-phase wavelet, is fitted to
    the data; start and phi are those of the largest correlation. Below 0.5 the wavelet stays as it is.
    data: [T] at the well, t0: ms of its first sample. Raises InputError where the well is longer than the data.
    """
    taps = wavelet.samples.astype(np.float64)
    size = 4 * taps.size
    amplitude = np.abs(np.fft.rfft(taps, size))
    turned = {k: np.roll(np.fft.irfft(amplitude * unit, size), taps.size // 2)[: taps.size]
              for k, unit in ((0, 1), (1, 1j))}
    synthetic = np.stack([np.convolve(well.reflectivity, turned[k], "same") for k in (0, 1)])
    length = synthetic.shape[1]
    if length > data.size:
        raise InputError(describe(f"well {well.name}", f"{length} samples of reflectivity", f"at most {data.size}",
                                  "Cut the logs to the time of the data"))
    starts = np.arange(data.size - length + 1)
    if well.start is not None:
        starts = starts[np.abs(t0 + starts * wavelet.dt - well.start) <= _SEARCH]
        if not starts.size:
            raise InputError(describe(f"well {well.name}", f"a start at {well.start:g} ms",
                                      f"{t0:g} to {t0 + (data.size - length) * wavelet.dt:g} ms", "Check the time"))
    gram = synthetic @ synthetic.T
    best, start, angle = -1.0, 0, 0.0
    for first in starts.tolist():
        piece = data[first:first + length].astype(np.float64)
        norm = float(np.linalg.norm(piece))
        product = synthetic @ piece
        weights = np.linalg.lstsq(gram, product, rcond=1e-9)[0]
        fit = math.sqrt(max(0.0, float(weights @ product))) / norm if norm > 0 else 0.0
        if fit > best:
            best, start, angle = fit, first, math.atan2(weights[1], weights[0])
    where = f"{well.name} at trace {well.trace}, from {t0 + start * wavelet.dt:g} ms"
    if best < _SURE:
        note = f"the tie to {where} correlates by {best:.2f} only: the phase is that of statistics"
        return make_wavelet(taps, wavelet.dt, wavelet.source, (*wavelet.notes, note))
    rotated = math.cos(angle) * turned[0] + math.sin(angle) * turned[1]
    note = f"phase by the tie to {where}: {math.degrees(angle):.0f} degrees, correlation {best:.2f}"
    return make_wavelet(rotated, wavelet.dt, wavelet.source, (note,))


def tie_nominal(source, wavelet: Wavelet, well: Well) -> Wavelet:
    """`tie` to the mean of the traces around the well. Raises InputError where the survey has no such trace."""
    count = source.layout.traces
    if well.trace > count:
        raise InputError(describe(f"well {well.name}", f"trace {well.trace}", f"1 to {count}", "Check the trace"))
    at = np.arange(max(0, well.trace - 1 - _BESIDE), min(count, well.trace + _BESIDE))
    data = source.read(at)
    data = data[:, np.isfinite(data).all(0)]
    mean = data.mean(1) if data.shape[1] else np.zeros(source.layout.samples)
    return tie(wavelet, well, mean, source.layout.t0)

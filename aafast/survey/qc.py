"""What a survey's report needs to know, in small pieces: measured block by block, put together at the end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .geometry import Geometry
from .job import load_arrays, save_arrays
from .layout import Layout
from .plan import Plan

SHOWN = 3  # sections that are drawn
_ROWS = _COLUMNS = 256  # cells of a map
_IMAGE = (1000, 1000)  # samples and traces of a section that is drawn
_SLICES = 3  # times at which a cube is cut
_WINDOWS = {"3D": 3}  # windows in time of the energies; of a line, which is a map by itself
_LINE_WINDOWS = 24
_BANDS = 3  # windows in time of the spectra
_FREQUENCIES = 128
_KEPT = "qc.npz"


@dataclass(frozen=True)
class QcPlan:
    """What is measured of a survey: fixed by its geometry alone, so that every block measures the same.

    samples: of a trace. dt, t0: ms. kind: of the geometry. shown: numbers of the sections to draw. step: of these
    the samples and traces that are drawn, every so many. slices: samples at which a cube is cut. windows, bands:
    edges of the windows in time of the energies and of the spectra. rows: sections per row of a map. lowest,
    columns, width: the first number of a trace, the columns of a map and the numbers that share one.
    """

    samples: int
    dt: float
    t0: float
    kind: str
    shown: tuple[int, ...]
    step: tuple[int, int]
    slices: tuple[int, ...]
    windows: tuple[int, ...]
    bands: tuple[int, ...]
    rows: int
    sections: int
    lowest: int
    columns: int
    width: int

    def column(self, numbers: np.ndarray) -> np.ndarray:
        """The column of a map in which the traces of these numbers lie."""
        return (np.asarray(numbers, np.int64) - self.lowest) // self.width


@dataclass(frozen=True)
class QcPiece:
    """What a block leaves for the report; every array is small whatever the survey's size.

    section: number, first: position of the block's first trace in it. column: of a map where the block starts.
    live, dead: [c] traces per column. energy: [3, w, c] sums of squares of data, residual and result. slices:
    [3, s, c] their samples at the times of the plan, NaN where no trace is. image: [3, t, x] where the section is
    drawn, else empty; place: of its first column. power: [2, b, f] spectra of data and result. patch: [n, 5] first
    and last sample, first and last column, iterations. status: [n]. change: [n, 2] of the wavelet: Hz and
    degrees, NaN where there is none.
    """

    section: np.ndarray
    first: np.ndarray
    column: np.ndarray
    live: np.ndarray
    dead: np.ndarray
    energy: np.ndarray
    slices: np.ndarray
    image: np.ndarray
    place: np.ndarray
    power: np.ndarray
    patch: np.ndarray
    status: np.ndarray
    change: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The piece as arrays whose names begin with `qc_`."""
        return {f"qc_{f.name}": np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_arrays(cls, held: dict[str, np.ndarray]) -> QcPiece:
        """The piece among the arrays of a block."""
        return cls(**{f.name: held[f"qc_{f.name}"] for f in fields(cls)})


def plan_qc(layout: Layout, geometry: Geometry) -> QcPlan:
    """Choose what is measured: a few sections, times and cells that fit a page, for a survey of any size."""
    sections, samples = geometry.sections, layout.samples
    count = len(sections)
    shown = sorted({round(k) for k in np.linspace(0, count - 1, SHOWN + 2)[1:-1]}) if count > 1 else [0]
    longest = max(sections[k].traces.size for k in shown)
    lowest = min(int(s.numbers.min()) for s in sections)
    highest = max(int(s.numbers.max()) for s in sections)
    width = -(-(highest - lowest + 1) // _COLUMNS)
    count_cuts = _SLICES if geometry.kind == "3D" else 0
    cuts = np.linspace(0, samples, count_cuts + 2)[1:-1].astype(int)
    return QcPlan(
        samples=samples,
        dt=layout.interval,
        t0=layout.t0,
        kind=geometry.kind,
        shown=tuple(shown),
        step=(-(-samples // _IMAGE[0]), -(-longest // _IMAGE[1])),
        slices=tuple(int(k) for k in cuts),
        windows=_edges(samples, _WINDOWS.get(geometry.kind, _LINE_WINDOWS)),
        bands=_edges(samples, _BANDS),
        rows=-(-count // _ROWS),
        sections=count,
        lowest=lowest,
        columns=(highest - lowest) // width + 1,
        width=width,
    )


def measure(
    plan: QcPlan,
    section: int,
    first: int,
    numbers: np.ndarray,
    live: np.ndarray,
    data: np.ndarray,
    x: np.ndarray,
    residual: np.ndarray,
    patches: Plan,
    solved: np.ndarray,
    iterations: np.ndarray,
    status: np.ndarray,
    wavelets: np.ndarray | None,
    nominal: np.ndarray,
) -> QcPiece:
    """The piece of one block's core.

    section, first: see `QcPiece`. numbers: [X] of all the section's traces, CDP, crossline or trace. live: [n].
    data, x, residual: [T, n]. patches: the section's plan. solved: [p] numbers in it; iterations, status: [p];
    wavelets: [p, K] corrected, or None; nominal: [K] or [p, K].
    """
    here = slice(first, first + live.size)
    columns = plan.column(numbers[here])
    column = int(columns.min())
    place = columns - column
    size = int(place.max()) + 1
    stack = [np.where(live, a, np.float32(0)) for a in (data, residual, x)]
    energy = np.zeros((3, len(plan.windows) - 1, size))
    slices = np.full((3, len(plan.slices), size), np.nan, np.float32)
    for k, image in enumerate(stack):
        power = np.add.reduceat(np.square(image, dtype=np.float64), plan.windows[:-1], axis=0)
        for w, row in enumerate(power):
            energy[k, w] = np.bincount(place, row, size)
        slices[k][:, place] = image[list(plan.slices)]
    drawn = np.empty((3, 0, 0), np.float32)
    start = -first % plan.step[1]
    if section in plan.shown:
        drawn = np.stack([image[:: plan.step[0], start:: plan.step[1]] for image in stack])
    starts = np.append(patches.trace.starts, numbers.size)
    row, at = np.divmod(np.asarray(solved, np.int64), len(patches.trace.starts))
    outer = np.minimum([starts[at], np.maximum(starts[at + 1] - 1, starts[at])], numbers.size - 1)
    edges = np.sort(plan.column(numbers[outer]), axis=0)
    times = np.append(patches.time.starts, plan.samples)
    change = np.full((row.size, 2), np.nan)
    if wavelets is not None and row.size:
        change = wavelet_change(wavelets, np.broadcast_to(nominal, wavelets.shape), plan.dt)
    ends = np.maximum(times[row], times[row + 1] - 1)
    return QcPiece(
        section=np.int64(section),
        first=np.int64(first),
        column=np.int64(column),
        live=np.bincount(place[live], minlength=size),
        dead=np.bincount(place[~live], minlength=size),
        energy=energy,
        slices=slices,
        image=drawn,
        place=np.int64((first + start) // plan.step[1]),
        power=np.stack([_spectra(plan, stack[0][:, live]), _spectra(plan, stack[2][:, live])]),
        patch=np.stack([times[row], ends, *edges, iterations], 1).astype(np.int64),
        status=np.asarray(status, np.int8),
        change=np.asarray(change, np.float32),
    )


def wavelet_change(wavelets: np.ndarray, nominal: np.ndarray, dt: float) -> np.ndarray:
    """How corrected wavelets [n, K] differ from nominal ones [n, K]: Hz and degrees [n, 2].

    The frequency is the mean one, weighted by power; the phase is that of sum_f W(f) conj(W0(f)), f > 0. dt: ms.
    """
    size = 4 * max(64, wavelets.shape[1])
    spectra = [np.fft.rfft(w, size, axis=1)[:, 1:] for w in (wavelets, nominal)]
    frequency = np.fft.rfftfreq(size, dt / 1000)[1:]
    means = [(np.abs(s) ** 2 @ frequency) / np.maximum((np.abs(s) ** 2).sum(1), 1e-30) for s in spectra]
    phase = np.degrees(np.angle((spectra[0] * spectra[1].conj()).sum(1)))
    return np.stack([means[0] - means[1], phase], 1)


def save_plan(folder: Path, plan: QcPlan, geometry: Geometry) -> None:
    """Keep the plan in a job's folder, with the numbers of all traces, section after section."""
    words = json.dumps(asdict(plan)).encode()
    numbers = np.concatenate([section.numbers for section in geometry.sections]).astype(np.int64)
    save_arrays(folder / _KEPT, plan=np.frombuffer(words, np.uint8), numbers=numbers)


def load_qc(folder: Path) -> tuple[QcPlan, np.ndarray]:
    """The plan and the numbers [N] that `save_plan` left."""
    held = load_arrays(folder / _KEPT)
    words: dict[str, Any] = json.loads(held["plan"].tobytes())
    words = {name: tuple(v) if isinstance(v, list) else v for name, v in words.items()}
    return QcPlan(**words), held["numbers"]


@dataclass
class SurveyQc:
    """All pieces put together.

    images: per drawn section its number and [3, t, x] data, residual, result. slices: [3, s, rows, columns].
    energy: [3, w, rows, columns]. live, dead: [rows, columns] traces. iterations, frequency, phase: [rows, columns]
    for a cube, [times, columns] for a line: means over patches, NaN where none is. times: of these rows, ms. power:
    [2, b, f]. Everything is NaN or 0 where nothing was measured.
    """

    plan: QcPlan
    images: list[tuple[int, np.ndarray]]
    slices: np.ndarray
    energy: np.ndarray
    live: np.ndarray
    dead: np.ndarray
    iterations: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray
    times: np.ndarray
    power: np.ndarray

    def misfit(self) -> np.ndarray:
        """||d - W r|| / ||d|| of every cell: [rows, columns] of a cube, [windows, columns] of a line."""
        energy = self.energy.sum(1) if self.plan.kind == "3D" else self.energy[:, :, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(energy[0] > 0, np.sqrt(energy[1] / energy[0]), np.nan)


def assemble(plan: QcPlan, pieces: Iterable[QcPiece]) -> SurveyQc:
    """Put the pieces of all blocks together, in any order; memory does not grow with their number."""
    rows = -(-plan.sections // plan.rows)
    shape = (rows, plan.columns)
    energy = np.zeros((3, len(plan.windows) - 1, *shape))
    slices = np.full((3, len(plan.slices), *shape), np.nan, np.float32)
    live, dead = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    power = np.zeros((2, len(plan.bands) - 1, _FREQUENCIES))
    images: dict[int, dict[int, np.ndarray]] = {k: {} for k in plan.shown}
    cube = plan.kind == "3D"
    sums = np.zeros((4, rows if cube else len(plan.windows) - 1, plan.columns))
    for piece in pieces:
        row, number = int(piece.section) // plan.rows, int(piece.section)
        here = slice(int(piece.column), int(piece.column) + piece.live.size)
        energy[:, :, row, here] += piece.energy
        np.copyto(slices[:, :, row, here], piece.slices, where=np.isfinite(piece.slices))
        live[row, here] += piece.live
        dead[row, here] += piece.dead
        power += piece.power
        if number in images and piece.image.size:
            images[number][int(piece.place)] = piece.image
        for (top, bottom, low, high, iterations), change in zip(piece.patch.tolist(), piece.change, strict=True):
            first, last = np.searchsorted(plan.windows, (top, min(bottom, plan.samples - 1)), "right") - 1
            levels = slice(row, row + 1) if cube else slice(first, last + 1)
            sums[:, levels, low:high + 1] += np.array([1, iterations, *np.nan_to_num(change)])[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        iterations, frequency, phase = np.where(sums[0] > 0, sums[1:] / sums[0], np.nan)
    drawn = [(k, np.concatenate([parts[p] for p in sorted(parts)], 2)) for k, parts in images.items() if parts]
    times = plan.t0 + plan.dt * np.asarray(plan.windows[:-1])
    return SurveyQc(plan, drawn, slices, energy, live, dead, iterations, frequency, phase, times, power)


def _edges(samples: int, count: int) -> tuple[int, ...]:
    return tuple(sorted({round(k) for k in np.linspace(0, samples, min(count, samples) + 1)}))


def _spectra(plan: QcPlan, image: np.ndarray) -> np.ndarray:
    """Summed power [bands, frequencies] of traces [T, n], per window in time."""
    power = np.zeros((len(plan.bands) - 1, _FREQUENCIES))
    for k, (start, stop) in enumerate(zip(plan.bands, plan.bands[1:], strict=False)):
        size = max(2 * (_FREQUENCIES - 1), stop - start)
        window = image[start:stop] * np.hanning(stop - start + 2)[1:-1, None].astype(np.float32)
        spectrum = (np.abs(np.fft.rfft(window, size, axis=0)) ** 2).sum(1)
        at = np.linspace(0, spectrum.size - 1, _FREQUENCIES)
        power[k] = np.interp(at, np.arange(spectrum.size), spectrum)
    return power

"""What is global in a survey, found in one pass over it with bounded memory before anything is solved.

Live traces, the gain's nodes, a checksum of every trace and, if asked for, the wavelet. It is kept in the job: every
block, in every process and after every restart, starts from the same numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from ..errors import FileError, InputError, describe
from .gain import CELL, Gain, count_nodes, find_level, measure_cells, measure_nodes
from .geometry import Geometry
from .job import load_arrays, save_arrays
from .overlap import read_ahead
from .wavelet import TAPS, Wavelet, estimate_wavelet

_SHORTEST = 16  # samples of a trace: less holds no wavelet
_LOOKED_AT = 8  # windows from which a wavelet is estimated
_CHUNK, _WINDOW = 1 << 20, 1 << 20  # samples read at once, and of a window for the wavelet
_PLACED, _NODES = "survey.npz", "nodes.f4"
NOMINAL, CALIBRATED = "wavelet.npz", "calibrated.npz"


@dataclass(frozen=True)
class SurveyPlan:
    """The survey as its blocks see it.

    samples: of a trace. traces: [N] positions in the file, section after section. offsets: [S + 1] where each
    section begins in them. live: [N] bool, in that order, and so are checks: [N] of each trace's samples, and heads:
    [N] of its header. levels: [S] of the gain. bad: numbers (from 1, in file order) of traces with NaN or Inf.
    """

    samples: int
    traces: np.ndarray
    offsets: np.ndarray
    live: np.ndarray
    checks: np.ndarray
    heads: np.ndarray
    levels: np.ndarray
    bad: list[int]
    nodes: np.ndarray
    known: np.ndarray
    node_offsets: np.ndarray

    @property
    def sizes(self) -> list[int]:
        """Traces of each section."""
        return np.diff(self.offsets).tolist()

    def section(self, number: int) -> slice:
        """Where a section lies in the arrays of all traces."""
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))

    def gain(self, number: int) -> Gain:
        """The gain of a section with live traces."""
        here = slice(int(self.node_offsets[number]), int(self.node_offsets[number + 1]))
        return Gain(self.nodes[here], self.known[here], float(self.levels[number]), self.samples)


def measure_survey(source, geometry: Geometry, folder: Path, skip_bad: bool) -> SurveyPlan:
    """Go through a survey once, section by section, and leave its plan in `folder`.

    source: see `store.Source`. Raises InputError where traces are too short, all dead, or hold NaN or Inf (unless
    `skip_bad`), FileError where the folder's disk is full.
    """
    layout = source.layout
    if layout.samples < _SHORTEST:
        raise InputError(describe(f"{layout.path}: samples per trace", layout.samples, f"{_SHORTEST} or more",
                                  "Such traces are too short to hold a wavelet"))
    traces = np.concatenate([section.traces for section in geometry.sections]).astype(np.int64)
    sizes = [section.traces.size for section in geometry.sections]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    live, bad = np.zeros(traces.size, bool), np.zeros(traces.size, bool)
    checks, heads = np.zeros(traces.size, np.uint32), np.zeros(traces.size, np.uint32)
    levels, known, written = np.ones(len(sizes)), [], 0

    def look(here: slice, headers: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bad[here] = ~np.isfinite(data).all(0)
        live[here] = ~(bad[here] | (data == data[:1]).all(0))
        checks[here], heads[here] = check_traces(data), check_headers(headers)
        return measure_cells(data, live[here]), live[here]

    try:
        with open(folder / _NODES, "wb") as handle, closing(read_ahead(_read_chunks(source, traces, offsets))) as ahead:
            for number, chunks in groupby(ahead, key=itemgetter(0)):
                near = []
                for nodes, close in measure_nodes(look(here, *read) for _, here, read in chunks):
                    handle.write(np.ascontiguousarray(nodes, np.float32).tobytes())
                    near.append(close)
                known.append(np.concatenate(near))
                handle.flush()
                if known[-1].any():
                    shape = known[-1].size, _count_cells(layout.samples)
                    held = np.memmap(folder / _NODES, np.float32, "r", 4 * written * shape[1], shape)
                    levels[number] = find_level(held, known[-1])
                written += known[-1].size
            os.fdatasync(handle.fileno())
    except FileError:
        raise
    except OSError as error:
        raise FileError(describe(f"folder of the job {folder}", error.strerror or error, "room for the gain",
                                 "Make room; the same command then goes on")) from error
    numbers = np.sort(traces[bad] + 1).tolist()
    _check_live(layout.path, live, numbers, skip_bad)
    save_arrays(
        folder / _PLACED,
        traces=traces, offsets=offsets, live=live, checks=checks, heads=heads, levels=levels,
        known=np.concatenate(known), bad=np.asarray(numbers, np.int64), samples=np.asarray(layout.samples),
    )  # fmt: skip
    return load_plan(folder)


def load_plan(folder: Path) -> SurveyPlan:
    """The plan that `measure_survey` left in a job's folder."""
    held = load_arrays(folder / _PLACED)
    samples, bad = int(held.pop("samples")), held.pop("bad").tolist()
    counts = [count_nodes(size) for size in np.diff(held["offsets"]).tolist()]
    width = _count_cells(samples)
    try:
        nodes = np.memmap(folder / _NODES, np.float32, "r", shape=(sum(counts), width))
    except (OSError, ValueError) as error:
        raise FileError(describe(f"{folder / _NODES}", error, "the gain of the survey",
                                 "Start anew with --restart")) from error
    return SurveyPlan(samples=samples, bad=bad, nodes=nodes,
                      node_offsets=np.concatenate([[0], np.cumsum(counts)]), **held)


def has_plan(folder: Path) -> bool:
    """Whether `measure_survey` has finished in this folder."""
    return (folder / _PLACED).exists()


def check_traces(data: np.ndarray) -> np.ndarray:
    """A checksum [X] uint32 of each trace of data [T, X] float32; any change of one sample changes it."""
    return _sums(np.ascontiguousarray(data, np.float32).view(np.uint32))


def check_headers(headers: np.ndarray) -> np.ndarray:
    """A checksum [X] uint32 of each header [X, 240] uint8; any change of four bytes in a row changes it."""
    return _sums(np.ascontiguousarray(headers).view(np.uint32).T)


def _sums(words: np.ndarray) -> np.ndarray:
    weights = 2 * np.arange(words.shape[0], dtype=np.uint32) + np.uint32(1)
    return np.einsum("t,tx->x", weights, words)  # modulo 2^32, where every weight has an inverse


def look_at(source, plan: SurveyPlan) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Some windows of a survey, each divided by its gain: images [T, n] and masks of live traces [n].

    Up to 8 windows of about a million samples: whole sections where they are no larger, spread over the survey.
    """
    layout = source.layout
    widest = max(64, _WINDOW // layout.samples)
    windows = []  # (section, first, stop)
    for number, size in enumerate(plan.sizes):
        if plan.live[plan.section(number)].any():
            count = -(-size // widest)
            cuts = [round(k * size / count) for k in range(count + 1)]
            windows += [(number, a, b) for a, b in zip(cuts, cuts[1:], strict=False)
                        if plan.live[plan.section(number)][a:b].any()]
    chosen = np.linspace(0, len(windows) - 1, min(_LOOKED_AT, len(windows))).round().astype(int)
    images, masks = [], []
    for number, first, stop in (windows[k] for k in chosen):
        here = plan.section(number)
        alive = plan.live[here][first:stop]
        data = np.where(alive, source.read(plan.traces[here][first:stop]), np.float32(0))
        images.append(data / plan.gain(number).part(first, stop))
        masks.append(alive)
    return images, masks


def estimate_nominal(source, plan: SurveyPlan, phase: str, polarity: int) -> Wavelet:
    """A wavelet for the whole survey from some of its windows."""
    layout = source.layout
    images, masks = look_at(source, plan)
    taps = min(TAPS, layout.samples - 1 + layout.samples % 2)
    return estimate_wavelet(images, layout.interval, taps, phase, live=masks, polarity=polarity)


def save_wavelet(folder: Path, wavelet: Wavelet, name: str = NOMINAL) -> None:
    """Keep a wavelet in the job: the nominal one, or what it was calibrated to."""
    words = {name: getattr(wavelet, name) for name in ("dt", "source", "phase", "dominant", "band", "notes")}
    save_arrays(folder / name, samples=wavelet.samples, words=np.frombuffer(json.dumps(words).encode(), "u1"))


def has_wavelet(folder: Path) -> bool:
    """Whether the job holds a nominal wavelet."""
    return os.path.exists(folder / NOMINAL)


def load_wavelet(folder: Path, name: str = NOMINAL) -> Wavelet:
    """The nominal wavelet that the job holds, or another."""
    held = load_arrays(folder / name)
    words = json.loads(held["words"].tobytes())
    return Wavelet(held["samples"], **{**words, "band": tuple(words["band"]), "notes": tuple(words["notes"])})


def load_calibrated(folder: Path) -> Wavelet | None:
    """The wavelet that the job solves with in the place of the nominal one, if any."""
    return load_wavelet(folder, CALIBRATED) if os.path.exists(folder / CALIBRATED) else None


_Chunk = tuple[int, slice, tuple[np.ndarray, np.ndarray]]


def _read_chunks(source, traces: np.ndarray, offsets: np.ndarray) -> Iterator[_Chunk]:
    """(section, where in `traces`, headers [n, 240] and data [T, n]), section by section, at most 1024 traces each."""
    most = int(np.clip(_CHUNK // source.layout.samples, 1, 1024))
    for number in range(offsets.size - 1):
        for first in range(int(offsets[number]), int(offsets[number + 1]), most):
            here = slice(first, min(first + most, int(offsets[number + 1])))
            yield number, here, source.read_whole(traces[here])


def _check_live(name: Path, live: np.ndarray, numbers: list[int], skip_bad: bool) -> None:
    if numbers and not skip_bad:
        listed = ", ".join(map(str, numbers[:10]))
        listed += f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
        raise InputError(describe(f"{name}", f"NaN or Inf in trace {listed}", "finite samples",
                                  "Repair these traces, or pass them through unchanged with --skip-bad"))
    if not live.any():
        raise InputError(describe(f"{name}", f"{live.size} traces, all dead", "one live trace or more",
                                  "Check the export that made this file"))


def _count_cells(samples: int) -> int:
    return -(-samples // CELL)

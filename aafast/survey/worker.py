"""One worker: reads the blocks that it is given, solves them, writes their cores and what is to be told of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..engine import set_memory_limit
from ..errors import FileError, describe
from .blocks import Block, find_halo
from .job import save_arrays
from .layout import TRACE
from .overlap import WriteBehind, read_ahead
from .plan import Patch, Plan
from .prepare import SurveyPlan, check_headers, check_traces, load_calibrated, load_plan, load_wavelet
from .qc import QcPlan, load_qc, measure
from .section import BATCH, Part, PartResult, Solve, plan_section, reconstruct_part
from .solver import SolverSpec
from .store import Source, Target
from .wavelet_field import load_field

OnBatch = Callable[[Block, int, int], None]


@dataclass(frozen=True)
class Context:
    """Everything that a worker needs, in any process that sees the same files: names and numbers, no handles.

    folder: the job's. patch, overlap, halo: samples, traces. shown: (section, first, stop) whose samples and residual
    are kept for the report, or None. threads: of torch, None leaves them. solver_bytes: what a solve may hold.
    """

    source: Source
    target: Target
    misfit: Target | None
    folder: Path
    solver: SolverSpec
    patch: tuple[int, int]
    overlap: tuple[int, int] | None
    halo: tuple[int, int] | None
    batch: int = BATCH
    shown: tuple[int, int, int] | None = None
    threads: int | None = None
    solver_bytes: int | None = None


class Loaded(NamedTuple):
    """A block that was read: its data, or None where it holds no live trace; headers [n, 240] of the live traces of its
    core; seconds that it took."""

    part: Part | None
    headers: np.ndarray
    seconds: float


class Worker:
    """A context brought to life: `read`, `solve` and `write` of a block, each of which a thread may have for itself."""

    def __init__(self, context: Context, solve: Solve | None = None) -> None:
        self.context = context
        self.survey: SurveyPlan = load_plan(context.folder)
        self._taps = load_wavelet(context.folder).samples
        calibrated = load_calibrated(context.folder)
        self._solved = self._taps if calibrated is None else calibrated.samples
        self._field = load_field(context.folder)
        self._qc = None if context.shown is None else load_qc(context.folder)
        self._solve = solve or context.solver.load()
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        if context.solver_bytes is not None:
            set_memory_limit(context.solver_bytes)

    def close(self) -> None:
        """Close the files."""
        if self.context.solver_bytes is not None:
            set_memory_limit(None)
        self.context.source.close()
        for target in self._targets():
            target.close()

    def read(self, block: Block) -> tuple[Block, Loaded]:
        """A block's data."""
        start = time.perf_counter()
        here = self.survey.section(block.section)
        live, traces = self.survey.live[here], self.survey.traces[here]
        if not live[block.first:block.stop].any():
            return block, Loaded(None, np.empty((0, TRACE), np.uint8), 0.0)
        halo = find_halo(block, self._plan(block).trace)
        first, stop = halo.first, min(halo.stop, traces.size)
        at = np.arange(first, stop)
        before, after = np.flatnonzero(live[:first]), np.flatnonzero(live[stop:])
        if not live[first] and before.size:
            at = np.insert(at, 0, before[-1])
        if not live[stop - 1] and after.size:
            at = np.append(at, stop + after[0])
        headers, data = self.context.source.read_whole(traces[at])
        self._check(headers, data, traces[at], here, at)
        part = Part(np.where(live[at], data, np.float32(0)), at, live[at], first, stop)
        own = live[at] & (at >= block.first) & (at < block.stop)
        return block, Loaded(part, headers[own], time.perf_counter() - start)

    def solve(self, block: Block, part: Part, on_batch: Callable[[int, int], None] | None = None) -> PartResult:
        """The reconstruction of a block."""
        start = time.perf_counter()
        gain = self.survey.gain(block.section).part(part.first, part.stop)
        seconds = time.perf_counter() - start
        result = reconstruct_part(
            part, gain, block, self._plan(block), lambda patches: self._wavelets(block, patches, self._solved),
            self._solve, self.context.batch, on_batch,
        )
        result.seconds["gain"] += seconds
        return result

    def write(self, block: Block, loaded: Loaded, result: PartResult | None) -> dict:
        """Write a block's core and its piece to the disk; returns what the ledger says of it."""
        start = time.perf_counter()
        here = self.survey.section(block.section)
        core = slice(block.first, block.stop)
        alive = self.survey.live[here][core]
        traces, part = self.survey.traces[here][core], loaded.part
        piece: dict[str, np.ndarray] = {"traces": np.asarray(alive.sum())}
        if part is not None and result is not None:
            self.context.target.write(traces[alive], loaded.headers, result.x[:, alive])
            if self.context.misfit is not None:
                self.context.misfit.write(traces[alive], loaded.headers, result.residual[:, alive])
            piece.update(self._piece(block, part, result))
        if not alive.all():
            records = self.context.source.gather(traces[~alive])
            at = np.arange(block.first, block.stop)[~alive]
            self._check(records[:, :TRACE], self.context.source.decode(records), traces[~alive], here, at)
            for target in self._targets():
                target.put(traces[~alive], records)
        for target in self._targets():
            target.sync()
        if self._qc is not None:
            piece.update(self._measure(*self._qc, block, part, result))
        save_arrays(self.context.folder / f"block-{block.number:07d}.npz", **piece)
        return {"done": block.number, "write": round(time.perf_counter() - start, 4)}

    def _piece(self, block: Block, part: Part, result: PartResult) -> dict[str, np.ndarray]:
        """The small numbers of a block, and of the shown part its samples."""
        here = slice(*np.searchsorted(part.at, [block.first, block.stop]))
        data = part.data[:, here]
        piece = {name: getattr(result, name) for name in ("patches", "iterations", "status", "residuals")}
        if result.wavelets is not None:
            piece["wavelets"] = result.wavelets
        piece["energy"] = np.array([np.square(a, dtype=np.float64).sum() for a in (result.residual, data)])
        piece["backend"] = np.frombuffer(result.backend.encode(), np.uint8)
        piece["seconds"] = np.array([result.seconds[name] for name in ("gain", "solve", "residual")])
        shown = self.context.shown
        if shown is not None and shown[0] == block.section:
            first, stop = max(block.first, shown[1]), min(block.stop, shown[2])
            if first < stop:
                own = slice(first - block.first, stop - block.first)
                piece.update(first=np.asarray(first), data=data[:, own], x=result.x[:, own],
                             residual=result.residual[:, own])
        return piece

    def _measure(
        self, plan: QcPlan, numbers: np.ndarray, block: Block, part: Part | None, result: PartResult | None
    ) -> dict[str, np.ndarray]:
        """What the report's maps need of a block, of one without live traces as well."""
        here = self.survey.section(block.section)
        live = self.survey.live[here][block.first:block.stop]
        if part is None or result is None:
            zeros = np.zeros((self.survey.samples, live.size), np.float32)
            images, solved, wavelets = (zeros, zeros, zeros), (np.empty(0, np.int64),) * 3, None
            nominal = self._taps
        else:
            own = slice(*np.searchsorted(part.at, [block.first, block.stop]))
            images = part.data[:, own], result.x, result.residual
            solved, wavelets = (result.patches, result.iterations, result.status), result.wavelets
            nominal = self._wavelets(block, [self._plan(block)[n] for n in result.patches.tolist()], self._taps)
        return measure(plan, block.section, block.first, numbers[here], live, *images, self._plan(block), *solved,
                       wavelets, nominal).to_arrays()

    def _wavelets(self, block: Block, patches: Sequence[Patch], taps: np.ndarray) -> np.ndarray:
        """The wavelet `taps` [K] of the survey or, where it varies, those of the patches [B, K]."""
        if self._field is None or not patches:
            return taps
        return self._field.of(int(self.survey.offsets[block.section]), patches)

    def _targets(self) -> Iterator[Target]:
        return (target for target in (self.context.target, self.context.misfit) if target is not None)

    def _check(self, headers: np.ndarray, data: np.ndarray, traces: np.ndarray, here: slice, at: np.ndarray) -> None:
        """Raise FileError unless these traces, at places `at` of the section `here`, are as they were at first."""
        for what, found, expected in (
            ("samples", check_traces(data), self.survey.checks[here][at]),
            ("bytes of the header", check_headers(headers), self.survey.heads[here][at]),
        ):
            changed = np.flatnonzero(found != expected)
            if changed.size:
                raise FileError(describe(
                    f"{self.context.source.layout.path}", f"other {what} in trace {traces[changed[0]] + 1} than before",
                    "a file that stays as it is during a run", "Put it back and repeat the command, or add --restart"))

    def _plan(self, block: Block) -> Plan:
        size = int(self.survey.offsets[block.section + 1] - self.survey.offsets[block.section])
        context = self.context
        return _plan((self.survey.samples, size), context.patch, context.overlap, context.halo)


_plan = lru_cache(maxsize=4)(plan_section)


def work(
    worker: Worker,
    blocks: Iterable[Block],
    begun: Callable[[Block], None],
    done: Callable[[Block, dict], None],
    on_batch: OnBatch | None = None,
) -> None:
    """Go through blocks: one is solved while the next is read and the last is written.

    begun: called before a block is solved. done: called, in the writing thread, when it is on the disk, with what
    the ledger is to say, among that the seconds of each stage, and for how long solving stood still before it to
    wait for reading and for writing.
    """
    def write(item: tuple) -> None:
        block, loaded, result, seconds = item
        record = worker.write(block, loaded, result)
        done(block, {**record, **{name: round(value, 4) for name, value in seconds.items()}})

    with WriteBehind(write) as behind, closing(read_ahead(map(worker.read, blocks))) as ahead:
        clock, behind_for = time.perf_counter(), 0.0
        for block, loaded in ahead:
            seconds = {"read": loaded.seconds, "stood read": time.perf_counter() - clock, "stood write": behind_for}
            result = None
            if loaded.part is not None:
                begun(block)
                report = None if on_batch is None else (lambda n, all_, block=block: on_batch(block, n, all_))
                result = worker.solve(block, loaded.part, report)
                seconds.update(result.seconds)
            clock = time.perf_counter()
            behind.put((block, loaded, result, seconds))
            behind_for = time.perf_counter() - clock
            clock += behind_for
            del block, loaded, result  # their images, while the next are read

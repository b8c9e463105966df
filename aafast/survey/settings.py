"""How a run is made: what its bytes depend on, and what they do not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import __version__
from .solver import SolverSpec
from .store import Source
from .wavelet import Wavelet

_FEWEST = 4  # columns of a block, of which one more is solved for its neighbour


@dataclass(frozen=True)
class Settings:
    """The options of `run`; patch, overlap, halo: samples, traces; memory: bytes; reports: whether a page is made;
    wavelet_windows: in time, and areas; well: whose tie gives the phase; calibrate: a given wavelet."""

    patch: tuple[int, int]
    overlap: tuple[int, int] | None
    halo: tuple[int, int] | None
    batch: int
    phase: str
    polarity: int
    keep_text_header: bool
    skip_bad: bool
    workers: int
    memory: int | None
    scheduler: str | None
    reports: bool
    wavelet_windows: tuple[int, int] = (1, 1)
    well: str | None = None
    calibrate: bool = True

    @property
    def processes(self) -> int:
        """Worker processes of this machine among which memory is shared; those of a cluster have their own."""
        return 1 if self.scheduler is not None else self.workers

    @property
    def threads(self) -> int | None:
        """Threads of each worker; None leaves them as they are."""
        return None if self.processes == 1 else max(1, torch.get_num_threads() // self.processes)

    def narrowed(self, columns: int, every: int) -> int:
        """Columns of a block, so that of all columns each of several workers gets a few blocks, none of them tiny."""
        return columns if self.workers == 1 else min(columns, max(_FEWEST, every // (4 * self.workers)))

    def facts(
        self, source: Source, spec: SolverSpec, given: Wavelet | None, wavelet: str, misfit: Path | None
    ) -> dict[str, str]:
        """What a job is begun with, by name: input, model and everything else that the bytes depend on.

        Of the input that is its name, its size and last change, its headers and samples of it, which takes
        milliseconds; the checksums of all traces, made in the pass before the first block, tell the rest as blocks
        are read.
        """
        layout = source.layout
        taps = given.samples.tobytes() if given is not None else f"{self.phase} {self.polarity}".encode()
        return {
            "input": os.path.realpath(layout.path),
            "contents of the input": source.identity(),
            "time of the input's last change": _changed(layout.path),
            "sample interval": f"{layout.interval:g} ms",
            **spec.facts(),
            "wavelet": f"{wavelet} {hashlib.sha256(taps).hexdigest()[:12]}",
            "windows of the wavelet": "{} in time, {} areas".format(*self.wavelet_windows),
            "well": str(self.well),
            "calibration": "of a given wavelet" if self.calibrate else "none",
            "patch": f"{self.patch} {self.overlap} {self.halo}",
            "traces with NaN or Inf": "skipped" if self.skip_bad else "refused",
            "text header": "kept" if self.keep_text_header else "extended",
            "report": "made" if self.reports else "none",
            "misfit": str(misfit),
            "version": f"aafast {__version__}, torch {torch.__version__}",
        }


def _changed(path: Path) -> str:
    try:
        return str(os.stat(path).st_mtime_ns)
    except OSError:  # not a file of this machine: its identity has to do
        return "unknown"

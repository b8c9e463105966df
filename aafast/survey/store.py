"""What a survey is to whoever reads or writes it: a grid of traces with a mask, whatever holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from .geometry import Geometry
from .layout import Layout
from .segy import Survey
from .segy_output import SegyTarget


class Source(Protocol):
    """A survey to read, by numbers of traces in file order; a context manager.

    Threads may share one; pickled, it travels as names and facts and is opened again where it arrives.
    layout: checked facts.
    """

    layout: Layout

    @property
    def geometry(self) -> Geometry:
        """The sections."""

    @property
    def text(self) -> list[str]:
        """Lines of the text header."""

    def read(self, traces: np.ndarray) -> np.ndarray:
        """Samples [T, n] float32 of these traces [n]."""

    def read_whole(self, traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Headers [n, 240] uint8 and samples [T, n] float32 of these traces [n]."""

    def gather(self, traces: np.ndarray) -> np.ndarray:
        """Bytes [n, stride] uint8 of these traces [n], header and samples as they stand in the file."""

    def decode(self, records: np.ndarray) -> np.ndarray:
        """Samples [T, n] float32 of such bytes [n, stride]."""

    def scan(self) -> tuple[np.ndarray, np.ndarray]:
        """Masks [N] of traces that are dead (constant) and bad (NaN or Inf)."""

    def identity(self) -> str:
        """A digest of the contents that tells a changed input; milliseconds for any size."""

    def close(self) -> None:
        """Reading is over."""


class Target(Protocol):
    """A survey to write: first `prepare`, then every trace by `write` or `put`, in any order from any process, then
    `commit`.

    Pickled, it travels by its names. Writing a trace again gives the same bytes. Until `commit` there is only
    the partial file, which a later process may take up again.
    path: the name that appears with `commit`. partial: the file that holds what was written before. scale: factor on
    the samples, known after `commit`.
    """

    path: Path
    partial: Path
    scale: float

    @property
    def room(self) -> int:
        """Bytes that it takes on the disk."""

    def prepare(self) -> None:
        """Make the partial file with everything but the traces, unless it is there already."""

    def write(self, traces: np.ndarray, headers: np.ndarray, data: np.ndarray) -> None:
        """Give these traces [n] their headers [n, 240] uint8 and the samples [T, n] float32."""

    def put(self, traces: np.ndarray, records: np.ndarray) -> None:
        """Give these traces [n] their bytes [n, stride] uint8, header and samples, as they are."""

    def sync(self) -> None:
        """Bring what was written to the disk: afterwards a ledger may say so."""

    def commit(self, lines: list[str] | None = None) -> list[str]:
        """Finish, add `lines` to the text header, give the file its name; returns warnings."""

    def close(self) -> None:
        """Close the partial file and leave it."""

    def discard(self) -> None:
        """Close and remove what was not committed."""


def open_source(name: str | Path, interval: float | None = None) -> Source:
    """Open a survey for reading; interval: ms, in place of the header's."""
    return Survey(name, interval)


def open_target(layout: Layout, path: str | Path, partial: str | Path) -> Target:
    """A target with the text and the places of the survey at `layout`.

    path: the output's name. partial: where to write until it is complete, on the same disk.
    """
    return SegyTarget(layout, path, partial)

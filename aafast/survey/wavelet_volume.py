"""The wavelets that adaptation found, all over a survey: where the nominal one was wrong, and how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import FileError, describe
from .files import AtomicFile
from .geometry import Geometry
from .layout import Layout
from .plan import Patch
from .qc import wavelet_change


def locate(
    section: int, patches: list[Patch], wavelets: np.ndarray, nominal: np.ndarray, geometry: Geometry, layout: Layout
) -> dict[str, np.ndarray]:
    """Rows of the volume for patches of one section: their wavelets [n, K] and nominal ones [K] or [n, K]."""
    line = geometry.sections[section]
    number = line.title.rpartition(" ")[2]
    nominal = np.broadcast_to(nominal, wavelets.shape)
    change = wavelet_change(wavelets, nominal, layout.interval)
    last = line.numbers.size - 1
    traces = np.array([(line.numbers[p.trace.start], line.numbers[min(p.trace.stop - 1, last)]) for p in patches])
    times = np.array([(p.time.start, min(p.time.stop, layout.samples) - 1) for p in patches], np.float64)
    return {
        "section": np.full(len(patches), section),
        "inline": np.full(len(patches), int(number) if geometry.kind == "3D" else 0),
        "traces": traces.reshape(-1, 2),
        "times": layout.t0 + layout.interval * times.reshape(-1, 2),
        "wavelets": wavelets.astype(np.float32),
        "nominal": nominal.astype(np.float32),
        "frequency_change": change[:, 0].astype(np.float32),
        "phase_change": change[:, 1].astype(np.float32),
    }


def write_volume(page: AtomicFile, rows: Iterable[dict[str, np.ndarray]], interval: float, axis: str) -> int:
    """Write the rows of all sections as one .npz archive, and give it its name; returns the number of wavelets.

    Arrays [n, ...], one row per patch: `wavelets` and `nominal` [n, K] of unit norm or as the model left them,
    `section`, `inline`, `traces` [n, 2] first and last number along `axis`, `times` [n, 2] first and last in ms,
    `frequency_change` (Hz, of the mean frequency) and `phase_change` (degrees); and `interval` in ms.
    """
    parts = list(rows)
    if not parts:
        return 0
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    try:
        with open(page.temporary, "wb") as handle:
            facts: dict[str, Any] = {"interval": np.float64(interval), "axis": np.array(axis), **columns}
            np.savez_compressed(handle, **facts)
        page.commit()
    except OSError as error:
        raise FileError(describe(f"wavelets {page.path}", error.strerror or error, "a complete file",
                                 "Check the disk; the reconstruction itself is complete")) from error
    return len(columns["section"])

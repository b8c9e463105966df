"""Check an installation against recorded numbers: the reference, and what the product shares with it."""

from __future__ import annotations

import os
from pathlib import Path

from . import oracle, product
from .files import golden_files, read
from .rows import Row

__all__ = ["Row", "run_reference", "verify"]


def verify(folder: str | os.PathLike[str], backend: str | None = None) -> list[Row]:
    """Recompute every golden file in float64, by the reference and by the product.

    Args:
        folder: holds the golden files (`anderson_0.npz` ... `defog_adaptive_deq.npz`); what is no .npz is
            ignored.
        backend: backend of the product's operations; the best that runs here if None or "auto".

    Returns:
        One row per file for the reference, followed by those of the product.

    Raises:
        FileError: folder or file missing, truncated or unreadable.
        FormatError: a file that is not a golden file, an unknown one, or arrays missing or unfit.
        BackendError: the backend is unknown or cannot run here.
    """
    place = product.place(backend)
    rows = []
    for name, path in golden_files(Path(folder)).items():
        arrays = read(name, path)
        rows += [oracle.check(name, path, arrays), *product.check(name, path, arrays, place)]
    return rows


def run_reference(folder: str | os.PathLike[str]) -> list[Row]:
    """Recompute every golden file by the reference alone; see `verify`."""
    return [oracle.check(name, path, read(name, path)) for name, path in golden_files(Path(folder)).items()]

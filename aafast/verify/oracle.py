"""The reference's row of a golden file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..reference import golden
from .files import unfit
from .rows import Row, row


def check(name: str, path: Path, arrays: dict[str, Tensor]) -> Row:
    """Recompute the file by the reference; the error is that of its worst quantity."""
    try:
        pairs = golden.reproduce(name, arrays)
    except (RuntimeError, LookupError, ValueError) as error:
        raise unfit(path, error) from error
    return row(path.name, "reference", golden.errors(pairs).values())

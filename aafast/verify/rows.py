"""One line of a verification."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Row:
    """A check of one file: `error` is relative in the 2-norm, `ok` says whether it is within `tolerance`."""

    file: str
    check: str
    error: float
    tolerance: float
    ok: bool


def worst(errors: Iterable[float]) -> float:
    """The largest error; NaN where there is one, infinite where there is none to judge by."""
    found = list(errors)
    if not found:
        return float("inf")
    nan = [error for error in found if error != error]
    return nan[0] if nan else max(found)


def row(file: str, check: str, errors: Iterable[float], tolerance: float = TOLERANCE) -> Row:
    """The row of the worst error; NaN is never ok."""
    error = worst(errors)
    return Row(file, check, error, tolerance, error <= tolerance)

"""How much of a survey is held at once: widths of blocks from a limit on memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ..errors import InputError, describe
from .blocks import COLUMNS
from .plan import Axis

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
# Bytes per sample of a block and its halo, for the four blocks that are on their way at once: read, waiting, solved
# and written, with the copies that each makes.
_EACH = 128
_PLAIN = 512 * 10**6  # bytes of blocks on their way where no limit is given
_FIXED = 150 * 10**6  # what planning, the report and the libraries take beside that


@dataclass(frozen=True)
class Share:
    """What a worker may hold. columns: of patches in a block. solver: bytes of a solve, or None."""

    columns: int
    solver: int | None


def parse_size(text: str | int | None) -> int | None:
    """Bytes of `2GB`, `1.5 GiB`, `800M` or a number; None as it is. Raises InputError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?i?)b?\s*", str(text).lower())
    size = 0 if found is None or found[2] == "i" else int(float(found[1]) * _UNITS[found[2].upper()])
    if size < 1:
        raise InputError(describe("memory", repr(text), "a size such as 2GB, 1.5GiB or 800MB", "Write it so"))
    return size


def share_out(limit: int | None, workers: int, samples: int, axis: Axis) -> Share:
    """Divide a limit on the memory of all processes among workers. samples: of a trace. axis: of the widest section.

    Raises InputError where not even a block of one column fits.
    """
    step = max(1, axis.patch if len(axis.starts) < 2 else axis.starts[1] - axis.starts[0])
    if limit is None:
        return Share(max(1, min(COLUMNS, _columns(_PLAIN, samples, axis.patch, step))), None)
    processes = 1 if workers == 1 else workers + 1
    free = (limit - processes * (_resident() + _FIXED)) // workers
    columns = _columns(free // 2, samples, axis.patch, step)
    if columns < 1:
        least = workers * 2 * _EACH * samples * (axis.patch + 2) + processes * (_resident() + _FIXED)
        raise InputError(describe(f"memory for {workers} worker(s)", f"{limit / 1e6:.0f} MB",
                                  f"{least / 1e6:.0f} MB or more for traces of {samples} samples",
                                  "Raise --memory, or use fewer workers or narrower patches"))
    return Share(min(COLUMNS, columns), free // 2)


def _columns(size: int, samples: int, patch: int, step: int) -> int:
    width = size // (_EACH * samples) - 2  # two more traces may be read to fill dead ones
    # One column more than its own reaches into a block from either side.
    return int(width - patch) // step - 1 if width >= patch + 2 * step else int(width >= patch)


def _resident() -> int:
    """Bytes that this process holds."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 300 * 10**6

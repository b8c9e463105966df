"""Reflectivity that was not generated: logs of real wells, and sections of published models, for test sets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import FileError, FormatError, InputError, describe, require
from .reflectivity import OVER, reflectivity_section

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
WELLS = "well_reflectivity_*.npz"
HOW = (
    "Put there well_reflectivity_2ms.npz (one float array of reflection coefficients per well), poststack_model.npz "
    "(array `model`, acoustic impedance [T, X]: https://github.com/PyLops/pylops, testdata/avo) or a .mat file "
    "with a section `r` [T, X] (https://github.com/nasser00/Naveen-project), or give the path of one such file"
)


@lru_cache(maxsize=4)
def open_sections(source: Path) -> tuple[Draw, ...]:
    """What draws sections from a file or a folder: functions of (rng, samples, traces) that return [T, X] float32.

    A folder's files follow one another by name; of well files it uses the first (that with the finest sampling). Wells
    are laid out as dipping, folded and faulted layers (`reflectivity_section`), two wells to a section; of a model a
    random part is cut, continued by its mirror image where it has too few traces. Raises FileError where there is no
    such file, FormatError where one is damaged.
    """
    if source.is_dir():
        files = [*sorted(source.glob(WELLS))[:1], *sorted(source.glob("*model*.npz")), *sorted(source.glob("*.mat"))]
    else:
        files = [source] if source.is_file() else []
    if not files:
        got = "no file of a known name" if source.is_dir() else "no such file or folder"
        raise FileError(describe(f"wells or models in {source}", got, f"{WELLS}, *model*.npz or *.mat", HOW))
    return tuple(_open(path) for path in files)


def _open(path: Path) -> Draw:
    if path.suffix == ".mat":
        reader = require("scipy.io", extra="baselines")
        arrays = _load(path, lambda: reader.loadmat(path, variable_names=["r"]))
        return _cut(path, _checked(path, "r", arrays.get("r"), 2))
    arrays = _load(path, lambda: _read_npz(path))
    if "model" in arrays:
        impedance = _checked(path, "model", arrays["model"], 2)
        if not (impedance > 0).all():
            raise FormatError(describe(f"model of {path}", "impedances of 0 or below", "positive numbers", "Mend it"))
        return _cut(path, 0.5 * np.diff(np.log(impedance), axis=0))
    logs = [_checked(path, name, log, 1) for name, log in arrays.items()]
    if not logs:
        raise FormatError(describe(f"wells of {path}", "no array", "one array per well", HOW))
    return lambda rng, samples, traces: reflectivity_section(
        rng, samples, traces, column=lambda rng, length: _column(rng, logs, length)
    )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _load(path: Path, read: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    try:
        return read()
    except Exception as error:  # readers of foreign formats fail in many ways
        raise FormatError(
            describe(f"file {path}", f"a damaged or unknown file ({error})", "arrays in .npz or .mat", "Copy it again")
        ) from error


def _checked(path: Path, name: str, values: object, axes: int) -> np.ndarray:
    got = "nothing"
    if isinstance(values, np.ndarray):
        if values.ndim == axes and values.dtype.kind == "f" and len(values) > 1 and np.isfinite(values).all():
            return values.astype(np.float64)
        got = f"{values.dtype} {list(values.shape)}"
    raise FormatError(
        describe(f"array {name} of {path}", got, f"finite floating-point numbers on {axes} axes", "Mend it")
    )


def _column(rng: np.random.Generator, logs: list[np.ndarray], samples: int) -> np.ndarray:
    """A random stretch of a random well [samples * OVER], linear between samples; a short one goes on mirrored."""
    log = logs[int(rng.integers(len(logs)))]
    start = int(rng.integers(max(1, len(log) - samples)))
    index = np.arange(start, start + samples + 1) % (2 * len(log))
    log = log[np.minimum(index, 2 * len(log) - 1 - index)]
    return np.interp(np.arange(samples * OVER) / OVER, np.arange(samples + 1), log)


def _cut(path: Path, section: np.ndarray) -> Draw:
    height, width = section.shape
    level = float(np.sqrt(np.mean(section**2)))

    def draw(rng: np.random.Generator, samples: int, traces: int) -> np.ndarray:
        if samples > height:
            raise InputError(
                describe(
                    f"samples cut from {path}",
                    f"{samples} with what leaks in from above and below",
                    f"at most {height}",
                    "Ask for a smaller shape, or for shorter wavelets",
                )
            )
        # A part without layers, as water, tells nothing: the best of a few draws is taken where none is lively.
        parts = []
        for _ in range(20):
            top = int(rng.integers(height - samples + 1))
            left = int(rng.integers(max(1, width - traces + 1)))
            part = section[top : top + samples, left : left + traces]
            parts.append((float(np.sqrt(np.mean(part**2))), part))
            if parts[-1][0] > 0.3 * level:
                break
        part = max(parts, key=lambda drawn: drawn[0])[1]
        return np.pad(part, ((0, 0), (0, traces - part.shape[1])), mode="symmetric").astype(np.float32)

    return draw

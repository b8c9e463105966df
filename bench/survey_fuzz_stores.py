"""Small MDIO stores for survey_fuzz.py, and what is done to them: flipped bits, lost files, claims that nothing bears
out, arrays in one another's place, samples and numbers that no survey has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_ODD: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 64, 4096, 2**31, 2**40, 2**63, 1e30, -0.5, "", "x", "float64", "int64", "<U8", None, True, [], [0],
    [1, 2, 3], [2**20, 2**20, 2**20], {}, {"name": "x"}, "AAAA",
)  # fmt: skip
_LOUD = (np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0)


def make_store(raw: bytes, elsewhere: bool, folder: Path) -> Path:
    """A store of a small survey, as this package converts it or as other tools write one: no mark, no headers."""
    from aafast.survey.mdio import segy_to_mdio

    source, store = folder / "base.sgy", folder / "in.mdio"
    source.write_bytes(raw)
    segy_to_mdio(source, store)
    if elsewhere:
        group = _open(store)
        group.attrs.pop("aafast_segy")
        for name in ("raw_headers", "trace_number", "raw_samples", "raw_samples_mask"):
            shutil.rmtree(store / name, ignore_errors=True)
    return store


def _open(store: Path) -> Any:
    import zarr

    return zarr.open_group(str(store), mode="r+")


def _files(store: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in store.rglob(pattern) if path.is_file())


def _pick(rng: np.random.Generator, items: list[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def flip_store(store: Path, rng: np.random.Generator) -> None:
    """Bits of a file's bytes: of metadata or of chunks."""
    path = _pick(rng, _files(store, "zarr.json") if rng.random() < 0.4 else _files(store))
    raw = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 9)):
        if raw:
            raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(raw))


def lose(store: Path, rng: np.random.Generator) -> None:
    """A file cut, emptied, lengthened or gone, or a whole array gone."""
    path, draw = _pick(rng, _files(store)), rng.random()
    raw = path.read_bytes()
    if draw < 0.3:
        path.write_bytes(raw[: int(rng.integers(0, len(raw) + 1))])
    elif draw < 0.5:
        path.write_bytes(raw + rng.bytes(int(rng.integers(1, 300))))
    elif draw < 0.8:
        path.unlink()
    else:
        shutil.rmtree(path.parent if path.parent != store else _pick(rng, [p for p in store.iterdir() if p.is_dir()]))


def claim(store: Path, rng: np.random.Generator) -> None:
    """Values of the metadata, this package's mark among them, set to what they are not."""
    path = _pick(rng, _files(store, "zarr.json"))
    facts = json.loads(path.read_text())
    for _ in range(rng.integers(1, 4)):
        holder = facts
        for _ in range(int(rng.integers(0, 5))):
            deeper = [v for v in (holder.values() if isinstance(holder, dict) else holder)
                      if isinstance(v, dict | list) and v]  # fmt: skip
            if not deeper:
                break
            holder = _pick(rng, deeper)
        key = _pick(rng, list(holder) if isinstance(holder, dict) else list(range(len(holder))))
        holder[key] = _pick(rng, list(_ODD))
        if not holder:
            break
    path.write_text(json.dumps(facts))


def swap(store: Path, rng: np.random.Generator) -> None:
    """One array's file in the place of another's."""
    files = _files(store)
    one, other = _pick(rng, files), _pick(rng, files)
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)


def edit(store: Path, rng: np.random.Generator) -> None:
    """Values of an array: samples that are huge, NaN or Inf; numbers, masks, times and headers that no survey has."""
    group = _open(store)
    name = _pick(rng, sorted(key for key, array in group.arrays() if array.size > 1))
    array = group[name]
    values = np.asarray(array[...])
    for _ in range(rng.integers(1, 9)):
        place = tuple(int(rng.integers(n)) for n in values.shape)
        if values.dtype.kind == "f":
            values[place] = _pick(rng, list(_LOUD))
        elif values.dtype.kind == "b":
            values[place] = not values[place]
        else:
            limits = np.iinfo(values.dtype)
            values[place] = _pick(rng, [limits.min, limits.max, 0, 1, int(rng.integers(0, 100))])
    array[...] = values


MUTATIONS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    f"store, {name}": function
    for name, function in (("flip", flip_store), ("lose", lose), ("claim", claim), ("swap", swap), ("edit", edit))
}


def make_mutated(seed: int, number: int, make_file: Callable[[int], bytes], folder: Path) -> Path:
    """A mutated store in a folder, the same for the same seed and number; its kind is `kind_of(number)`."""
    rng = np.random.default_rng([seed, number, 1])
    store = make_store(make_file(int(rng.integers(60))), rng.random() < 0.3, folder)
    MUTATIONS[kind_of(number)](store, rng)
    return store


def kind_of(number: int) -> str:
    """The kind of mutation of a store."""
    return list(MUTATIONS)[number % len(MUTATIONS)]


def check_store(store: Path, folder: Path, options: dict[str, Any]) -> tuple[str, str]:
    """Run one store, and compare it with the survey that it was made of: as survey_fuzz.check."""
    from aafast.errors import AafastError
    from aafast.survey import run
    from aafast.survey.compare import compare_surveys
    from aafast.survey.mdio import mdio_to_segy

    target, plain = folder / "out.sgy", folder / "plain.sgy"
    try:
        compare_surveys(folder / "base.sgy", store)
    except AafastError as error:
        if "expected" not in str(error):
            return "wrong", f"vague: {error}"
    except Exception as error:
        return "wrong", f"comparison: {type(error).__name__}: {error}"
    def convert() -> None:
        run(store, target, skip_bad=True, progress=False, restart=True, **options)
        mdio_to_segy(store, plain)

    return judged(convert, plain, target)


def judged(work: Callable[[], None], source: Path, target: Path) -> tuple[str, str]:
    """What came of a run: an error that says what was expected, or an output with the trace headers of its input."""
    from aafast.errors import AafastError
    from aafast.survey.layout import TRACE, inspect

    try:
        work()
    except AafastError as error:
        if target.exists():
            return "wrong", f"an output in spite of {error}"
        return ("error", type(error).__name__) if "expected" in str(error) else ("wrong", f"vague: {error}")
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    before, after = (np.frombuffer(p.read_bytes(), np.uint8) for p in (source, target))
    if before.size != after.size:
        return "wrong", f"{after.size} bytes of {before.size}"
    layout = inspect(source)
    rows = [a[layout.data:before.size - layout.tail].reshape(layout.traces, -1) for a in (before, after)]
    return ("valid", "") if np.array_equal(rows[0][:, :TRACE], rows[1][:, :TRACE]) else ("wrong", "trace headers")

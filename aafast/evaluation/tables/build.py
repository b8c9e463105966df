"""All tables and figures from files of rows, into a folder."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import InputError, describe
from ..rows import write_whole
from .adaptation import ablation, operators, table2
from .claims import claims
from .iterations import figure6, figure7, figure8, proposition
from .panels import figure9, figures3to5
from .reconstruction import table1
from .results import Absent, Results, Section
from .runtime import table3

PAGE = "tables.md"
SECTIONS: dict[str, Callable[[Results], Section]] = {
    "claims": claims,
    "table1": table1,
    "ablation": ablation,
    "operators": operators,
    "table2": table2,
    "table3": table3,
    "figures3to5": figures3to5,
    "figure6": figure6,
    "figure7": figure7,
    "figure8": figure8,
    "figure9": figure9,
    "proposition51": proposition,
}

# Test pairs of other sources than the first have these of their own.
OF_EVERY_SOURCE = (table1, ablation, operators)


def build(paths: Sequence[str | Path], out: str | Path) -> tuple[list[Path], dict[str, str]]:
    """Make every table and figure whose rows are among the files into the folder `out`.

    paths: files of JSON lines, or folders of them; pictures are read from the .npz beside a file. Writes tables.md and
    a PNG per figure. Returns the files written, and for each table left out the rows that lack. Raises FileError,
    FormatError or InputError on files that cannot be used, MissingDependency without matplotlib.
    """
    found = Results.read(Path(path) for path in paths)
    first, *others = found.sources()
    made, absent = [], {}
    for name, make in SECTIONS.items():
        try:
            made.append(make(found.of(first)))
        except Absent as reason:
            absent[name] = str(reason)
    for source, make in itertools.product(others, OF_EVERY_SOURCE):
        with contextlib.suppress(Absent):
            section = make(found.of(source))
            made.append(section.renamed(f"{section.name}-{source}", f"{section.title}: {source}"))
    if not made:
        raise InputError(
            describe("rows", "none that a table is made of", "rows of `aafast evaluate`", "Give other files")
        )
    folder = Path(out)
    parts = [f"## {section.title}\n{section.text}" for section in made]
    if absent:
        lacking = "\n".join(f"- {name}: no {reason}" for name, reason in absent.items())
        parts.append(f"## Left out\nRows of these are not among the files given.\n\n{lacking}")
    files = {PAGE: "\n\n".join(["# Tables and figures", *parts, ""]).encode()}
    for section in made:
        files |= section.pictures
    for name, data in files.items():
        write_whole(folder / name, data)
    return [folder / name for name in files], absent

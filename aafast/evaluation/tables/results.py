"""Stored rows as the tables ask for them, and what a section of the result is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...config import METHODS
from ...errors import InputError, describe
from .. import rows as stored
from ..statistics import select

Row = stored.Row
TASKS = ("deblur", "deconv", "defog")
LEVELS = ("none", "in", "out", "beyond")
NAMES = {
    "data": "the data themselves",
    "wiener": "Wiener",
    "fista": "FISTA",
    "tikhonov": "Tikhonov",
    "dark-channel": "dark channel prior",
    "inversion": "inversion of the haze",
    "direct": "direct inverse",
    "robust-lu": "robust LU",
    "adaptive-lu": "A-adaptive LU",
    "adaptive-deq": "A-adaptive DEQ",
}
PUBLISHED_LU = "robust LU, as published"


class Absent(LookupError):
    """A table or figure whose rows are not there; the text says which."""


@dataclass(frozen=True)
class Section:
    """A part of the result: its name, its heading, Markdown, and pictures by file name (PNG)."""

    name: str
    title: str
    text: str
    pictures: dict[str, bytes] = field(default_factory=dict)

    def renamed(self, name: str, title: str) -> Section:
        """The same under another name, its pictures' files as well."""
        files = {f"{name}-{file}": data for file, data in self.pictures.items()}
        text = self.text
        for file in self.pictures:
            text = text.replace(f"]({file})", f"]({name}-{file})")
        return Section(name, title, text, files)


@dataclass(frozen=True)
class Results:
    """Rows by kind; of rows that answer the same question the last one read counts. origin: a picture row's file."""

    scores: list[Row]
    curves: list[Row]
    pictures: list[Row]
    solves: list[Row]
    origin: dict[tuple[Any, ...], Path] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Results:
        """The rows of files of JSON lines, and of all such files in folders.

        Raises FileError, FormatError, and InputError where a row of an evaluation lacks something.
        """
        files = [f for path in paths for f in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
        kinds: dict[str, dict[tuple[Any, ...], Row]] = {kind: {} for kind in stored.KINDS}
        solves, origin = [], {}
        for file in files:
            for row in stored.read(file):
                if row.get("suite") == "solve":
                    solves.append(row)
                if row.get("suite") != stored.SUITE:
                    continue
                wrong = stored.complaints(row)
                if wrong:
                    raise InputError(
                        describe(f"row of {file}", "; ".join(wrong), "a row of `aafast evaluate`", "Make it again")
                    )
                key = stored.key(row)
                kinds[row["kind"]][key] = row
                if row["kind"] == "picture":
                    origin[key] = file
        scores, curves, pictures = (list(kinds[kind].values()) for kind in stored.KINDS)
        return cls(scores, curves, pictures, solves, origin)

    def sources(self) -> list[str]:
        """Where the truths of the test pairs are from: the generated ones first."""
        found = dict.fromkeys(row["source"] for row in [*self.scores, *self.curves, *self.pictures])
        return sorted(found, key=lambda name: name != "generated") or ["generated"]

    def of(self, source: str) -> Results:
        """What belongs to pairs of this source, and the solve suite."""
        scores, curves, pictures = (select(rows, source=source) for rows in (self.scores, self.curves, self.pictures))
        return Results(scores, curves, pictures, self.solves, self.origin)

    def tested(self, **fields: object) -> list[Row]:
        """The scores with these fields."""
        return select(self.scores, **fields)


def names(rows: Sequence[Row]) -> list[str]:
    """The labels of rows: classical methods, then the paper's methods in its order, then others."""
    order = list(NAMES)
    found = {row["label"] for row in rows}
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def levels(rows: Sequence[Row]) -> list[str]:
    """The levels of mismatch among rows, in order."""
    found = {row["mismatch"] for row in rows}
    return [level for level in LEVELS if level in found]


def trained(rows: Sequence[Row]) -> list[Row]:
    """The rows of models."""
    return [row for row in rows if row["method"] in METHODS]


def title(label: str) -> str:
    """A label for people."""
    return NAMES.get(label, label)


def machine(rows: Sequence[Row]) -> str:
    """Where rows were made, as a clause."""
    devices = sorted({row["device_name"] for row in rows})
    commits = sorted({row["commit"] or "no commit" for row in rows})
    versions = sorted({f"aafast {row['versions']['aafast']}, torch {row['versions']['torch']}" for row in rows})
    return f"{', '.join(devices)}; {'; '.join(versions)}; at {', '.join(commits)}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = "|".join(["---"] * len(head))
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])

"""The picture of the solve suite: what each contestant gains over the reference, made from a results file alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from aafast.bench.rows import Row, read
from aafast.errors import InputError, describe, require

COLOURS = {"eager-nhwc": "#a9b4c2", "compile": "#6c8ead", "engine": "#c8553d"}
LABELS = {"eager-nhwc": "channels-last eager", "compile": "torch.compile", "engine": "aafast"}


def digest(path: Path) -> str:
    """What tells a results file from another; it stands in the picture's metadata."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contestant(row: Row) -> str:
    """The reference, a plain baseline by its name, or the engine whatever its backend."""
    return "engine" if row["engine"] else row["backend"]


def draw(results: Path, target: Path) -> Path:
    """Write the picture (SVG or PNG, by the target's suffix) of a solve suite's rows: speed-ups over the reference.

    A contestant without a speed-up, as behind a red gate, has no bar. Raises InputError where no row has one.
    """
    rows = [row for row in read(results) if row["suite"] == "solve"]
    gains = {(row["task"], row["method"], contestant(row)): row["speedup"] for row in rows if row["speedup"]}
    if not gains:
        raise InputError(describe(f"results {results}", "no speed-up", "rows of the solve suite", "Run aafast bench"))
    matplotlib = require("matplotlib", extra="report")
    figure_of = require("matplotlib.figure", extra="report").Figure
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    with matplotlib.rc_context({"svg.hashsalt": "aafast", "font.size": 9}):
        figure = figure_of(figsize=(2.9 * len(tasks) + 0.6, 3.0), layout="constrained")
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0], tasks, strict=True):
            _panel(axes, task, [row for row in rows if row["task"] == task], gains)
        first = figure.axes[0]
        first.set_ylabel("times the reference's speed")
        first.legend(frameon=False, loc="upper left", fontsize=8)
        known = {"Description": f"results sha256 {digest(results)}"}
        metadata = {**known, "Date": None} if target.suffix == ".svg" else known
        figure.savefig(target, metadata=metadata, dpi=150)
    return target


def _panel(axes: Any, task: str, rows: list[Row], gains: dict[tuple[str, str, str], float]) -> None:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    width = 0.8 / len(COLOURS)
    for index, (who, colour) in enumerate(COLOURS.items()):
        found = [(k, gains.get((task, method, who))) for k, method in enumerate(methods)]
        bars = [(k + (index - 1) * width, gain) for k, gain in found if gain is not None]
        drawn = axes.bar([x for x, _ in bars], [gain for _, gain in bars], width, color=colour, label=LABELS[who])
        axes.bar_label(drawn, fmt="%.1f", fontsize=7, padding=1)
    axes.axhline(1, color="#444444", linewidth=0.8)
    axes.set_xticks(range(len(methods)), [method.replace("-", "\n", 1) for method in methods])
    size = "x".join(str(n) for n in [rows[0]["batch"], *rows[0]["shape"]])
    axes.set_title(f"{task}, {size}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)

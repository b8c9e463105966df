"""The figures as PNG; matplotlib is imported on first use and opens no window."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import require

_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dee4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
COLOURS = {
    "direct": "#7a8794",
    "robust-lu": "#1f6fb2",
    "adaptive-lu": "#d1661a",
    "adaptive-deq": "#2e8b57",
}
_OTHERS = ("#8e5ea2", "#b5a642", "#c8553d", "#4d908e")
_DASHES = ("-", "--", ":", "-.")


def curves(panels: Sequence[dict[str, Any]], horizontal: str, vertical: str, log: bool = True) -> bytes:
    """Panels side by side, each {title, lines: [(name, colour key, x, y [S, K], dash)], mark}.

    A line is the mean over its S seeds, with their range shaded; `mark` draws a vertical line with a word.
    """
    matplotlib, figure_of = _matplotlib()
    with matplotlib.rc_context(_STYLE):
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = figure_of(figsize=(3.6 * columns + 0.3, 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for place, panel in zip(axes.flat, panels, strict=False):
            for number, (name, colour, x, y, dash) in enumerate(panel["lines"]):
                shade = _colour(colour, number)
                place.plot(x, y.mean(0), color=shade, linestyle=_DASHES[dash], label=name, linewidth=1.5)
                if len(y) > 1:
                    place.fill_between(x, y.min(0), y.max(0), color=shade, alpha=0.15, linewidth=0)
            if panel.get("mark"):
                where, word = panel["mark"]
                place.axvline(where, color="#5b6875", linewidth=0.8, linestyle=":")
                place.annotate(word, (where, 0.98), xycoords=("data", "axes fraction"), fontsize=7, rotation=90,
                               ha="right", va="top", color="#5b6875")  # fmt: skip
            if log:
                place.set_yscale("log")
            place.set_title(panel["title"])
            place.set_xlabel(horizontal)
            place.xaxis.get_major_locator().set_params(integer=True)
            place.legend(fontsize=7)
        for place in axes[:, 0]:
            place.set_ylabel(vertical)
        for spare in axes.flat[len(panels) :]:
            spare.remove()
        return _png(figure)


def distributions(panels: Sequence[tuple[str, str, np.ndarray, np.ndarray]]) -> bytes:
    """Cumulative distributions, each panel (title, measure, told, corrected)."""
    matplotlib, figure_of = _matplotlib()
    with matplotlib.rc_context(_STYLE):
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        figure = figure_of(figsize=(3.6 * columns + 0.3, 2.7 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for place, (title, measure, told, corrected) in zip(axes.flat, panels, strict=False):
            for values, name, colour in ((told, "told", "#1f6fb2"), (corrected, "corrected", "#d1661a")):
                found = np.sort(values)
                place.step(found, np.arange(1, len(found) + 1) / len(found), where="post", color=colour, label=name)
            place.set_title(title)
            place.set_xlabel(measure)
            place.set_ylabel("share of pairs up to here")
            place.legend(fontsize=7)
        for spare in axes.flat[len(panels) :]:
            spare.remove()
        return _png(figure)


def images(
    grid: Sequence[Sequence[tuple[str, np.ndarray] | None]], zoom: Sequence[int], sections: bool, enlarged: bool = True
) -> bytes:
    """Rows of (title, image); below each row, where asked for, the same images in the window `zoom`, which is marked.

    Sections [T, X] share one symmetric grey scale, images [H, W, 3] in 0..255 their own range; the window is
    (top, left, height, width) and the same in every panel.
    """
    matplotlib, figure_of = _matplotlib()
    patch = require("matplotlib.patches", extra="report").Rectangle
    top, left, height, width = zoom
    known = [cell[1] for row in grid for cell in row if cell]
    size = np.abs(known[0].astype(np.float32))
    clip = float(np.quantile(size[size > 0], 0.99)) if sections and (size > 0).any() else 1.0
    shown = {"cmap": "gray_r", "vmin": -clip, "vmax": clip, "aspect": "auto"} if sections else {}
    tall = 1.5 if sections else known[0].shape[0] / known[0].shape[1]
    columns = max(map(len, grid))
    heights = ([tall, tall if sections else height / width] if enlarged else [tall]) * len(grid)
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        side = 1.9
        total = side * (min(sum(heights), 12) + 0.3 * len(grid))
        figure = figure_of(figsize=(side * columns, total), layout="constrained")
        axes = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
        for place in axes.flat:
            place.set_axis_off()
        for number, row in enumerate(grid):
            for column, cell in enumerate(row):
                if cell is None:
                    continue
                title, image = cell
                image = image.astype(np.float32) if sections else image
                first = number * (2 if enlarged else 1)
                axes[first, column].imshow(image, **shown)
                axes[first, column].set_title(title, fontsize=7)
                if enlarged:
                    axes[first, column].add_patch(
                        patch((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="#c8303d", linewidth=0.9)
                    )
                    axes[first + 1, column].imshow(image[top : top + height, left : left + width], **shown)
        return _png(figure)


def _matplotlib() -> tuple[Any, Any]:
    matplotlib = require("matplotlib", extra="report")
    return matplotlib, require("matplotlib.figure", extra="report").Figure


def _colour(key: str, number: int) -> str:
    return COLOURS.get(key, _OTHERS[number % len(_OTHERS)])


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()

"""Figures 3 to 5, and Figure 9: pictures of one pair, and quality against the told kernel's variance."""

from __future__ import annotations

import re

import numpy as np

from .. import pictures
from ..rows import key
from ..statistics import score, select
from .drawing import curves, images
from .results import Absent, Results, Row, Section, machine, names, table, title

FIGURES = {"figure3": "deblur", "figure4": "deconv", "figure5": "defog"}
_VARIANCE = re.compile(r"variance x (\d+)/(\d+)")


def figures3to5(results: Results) -> Section:
    """One pair of each task, as every method reconstructs it, with an enlarged window."""
    parts, files = [], {}
    for name, task in FIGURES.items():
        for row in select(results.pictures, figure=name):
            stored = _arrays(results, row)
            grid = [[(_caption(panel), stored[panel["array"]]) for panel in row["panels"]]]
            files[f"{name}.png"] = images(grid, row["zoom"], sections=task == "deconv")
            parts.append(f"**{task}**, {row['mismatch']}, pair {row['index']} of the {row['split']} split "
                         f"({row['source']}); one scale for all panels, the window enlarged below. "
                         f"{machine([row])}.\n\n![{name}]({name}.png)")  # fmt: skip
    if not parts:
        raise Absent("pictures of test pairs")
    return Section("figures3to5", "Figures 3 to 5: one pair of each task", "\n\n".join(parts), files)


def figure9(results: Results) -> Section:
    """PSNR of deblurring told kernels of other variances, and one pair of it."""
    rows = [row for row in results.scores if _VARIANCE.fullmatch(row["told"])]
    shown = select(results.pictures, figure="figure9")
    if not rows and not shown:
        raise Absent("scores of deblurring told kernels of other variances")
    parts, files = [], {}
    if rows:
        told = sorted({row["told"] for row in rows}, key=_ratio)
        labels = names(rows)
        lines = [[title(label), *(_cell(select(rows, label=label, told=which)) for which in told)] for label in labels]
        parts.append("PSNR in dB / SSIM, mean over pairs and seeds ± standard deviation over seeds, told a Gaussian "
                     "kernel whose variance is a multiple of the true one (the paper's 1, 3, 5 and 7 of 7, and 9): "
                     f"{rows[0]['pairs']} pairs. {machine(rows)}.\n\n"
                     + table(["model", *(f"{_ratio(which):.2f}" for which in told)], lines)
                     + "\n\n![Figure 9](figure9.png)")  # fmt: skip
        x = np.array([_ratio(which) for which in told])
        drawn = []
        for label in labels:
            seeds = [select(rows, label=label, told=which) for which in told]
            if all(len(found) == len(seeds[0]) > 0 for found in seeds):
                values = np.array([[row["psnr"]["mean"] for row in found] for found in seeds]).T
                drawn.append((title(label), label, x, values, 0))
        panel = {"title": "deblur", "lines": drawn, "mark": (1.0, "the truth")}
        files["figure9.png"] = curves([panel], "variance told over the true one", "PSNR (dB)", log=False)
    for row in shown:
        stored = _arrays(results, row)
        told = sorted({panel["told"] for panel in row["panels"]} - {"-"}, key=_ratio)
        plain = [panel for panel in row["panels"] if panel["told"] == "-"]
        grid: list[list[tuple[str, np.ndarray] | None]] = [[(_caption(p), stored[p["array"]]) for p in plain]]
        for label in dict.fromkeys(panel["title"] for panel in row["panels"] if panel["told"] != "-"):
            found = {panel["told"]: panel for panel in row["panels"] if panel["title"] == label}
            grid.append([(f"x {_ratio(which):.2f}: {_caption(found[which])}", stored[found[which]["array"]])
                         if which in found else None for which in told])  # fmt: skip
        files["figure9-pair.png"] = images(grid, row["zoom"], sections=False, enlarged=False)
        parts.append(f"Pair {row['index']}, a row per model, a column per variance told. {machine([row])}.\n\n"
                     "![Figure 9, one pair](figure9-pair.png)")  # fmt: skip
    return Section("figure9", "Figure 9: quality of the told operator, deblurring", "\n\n".join(parts), files)


def _ratio(told: str) -> float:
    above, below = _VARIANCE.sub(r"\1 \2", told).split()
    return int(above) / int(below)


def _cell(rows: list[Row]) -> str:
    return f"{score(rows).text()} / {score(rows, 'ssim').text(4)}" if rows else "-"


def _caption(panel: dict) -> str:
    figures = "" if "psnr" not in panel else f"\n{panel['psnr']:.2f} dB, {panel['ssim']:.3f}"
    return title(panel["title"]) + figures


def _arrays(results: Results, row: Row) -> dict[str, np.ndarray]:
    return pictures.load(results.origin[key(row)], [panel["array"] for panel in row["panels"]])

"""Figures 6, 7 and 8, and Proposition 5.1: what happens from iteration to iteration, and past the stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..statistics import select
from ..tracing import PARTS
from ..variants import AS_SAVED
from .drawing import curves
from .results import TASKS, Absent, Results, Row, Section, levels, machine, names, table, title

LU = ("robust-lu", "adaptive-lu")
FIGURE6, FIGURE7, FIGURE8, PROPOSITION = 5, 100, 10, 30


def _array(rows: Sequence[Row], name: str, last: int | None = None) -> np.ndarray:
    """A curve of every seed [S, K + 1], iteration 0 (the data) first."""
    return np.array([row[name] for row in rows])[:, : None if last is None else last + 1]


def saved(results: Results, methods: Sequence[str], least: int) -> list[Row]:
    """Curves of models as saved over `least` iterations or more, one per model and test set; Absent where none is."""
    rows = [row for row in select(results.curves, method=tuple(methods), variant=AS_SAVED) if row["length"] >= least]
    if not rows:
        raise Absent(f"curves over {least} iterations of {' or '.join(methods)}")
    return _shortest(rows)


def _shortest(rows: Sequence[Row]) -> list[Row]:
    """Of curves of the same model and pairs, the shortest one that is long enough: one row each."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: -row["length"]):
        found[tuple(str(row[n]) for n in ("task", "label", "training_seed", "weights", "mismatch", "seed"))] = row
    return list(found.values())


def _panels(rows: Sequence[Row], last: int, mark: str | None = None) -> list[dict[str, Any]]:
    """MSE per iteration, a panel per task and level, a line per label."""
    panels = []
    for task in TASKS:
        for level in levels(select(rows, task=task)):
            here = select(rows, task=task, mismatch=level)
            lines = [(title(label), label, np.arange(last + 1), _array(select(here, label=label), "mse", last), 0)
                     for label in names(here)]  # fmt: skip
            panel = {"title": f"{task}, {level}", "lines": lines}
            if mark:
                panel["mark"] = (here[0]["trained_iterations"], mark)
            panels.append(panel)
    return panels


def _about(rows: Sequence[Row]) -> str:
    return (
        f"{rows[0]['pairs']} pairs; the line is the mean over the seeds of the mean over pairs, the shade their range; "
        f"iteration 0 is the data. {machine(rows)}."
    )


def figure6(results: Results) -> Section:
    """MSE of each iterate of the unrolled models up to K."""
    rows = saved(results, LU, FIGURE6)
    lines = []
    for task, level, label, found in groups(rows):
        mse = _array(found, "mse", FIGURE6).mean(0)
        rises = [str(k) for k in range(2, FIGURE6 + 1) if mse[k] > mse[k - 1]]
        lines.append([task, level, title(label), *(f"{value:.3g}" for value in mse), ", ".join(rises) or "none"])
    head = ["task", "mismatch", "model", "data", *map(str, range(1, FIGURE6 + 1)), "rises at"]
    text = f"Mean squared error of each iterate. {_about(rows)}\n\n{table(head, lines)}\n\n![Figure 6](figure6.png)"
    picture = curves(_panels(rows, FIGURE6), "iteration", "mean squared error")
    return Section("figure6", "Figure 6: effectiveness of each iteration", text, {"figure6.png": picture})


def figure8(results: Results) -> Section:
    """MSE of the unrolled models past K, and how far the PSNR moves from K on."""
    rows = saved(results, LU, FIGURE8)
    text = f"Iterations past the K of training. {_about(rows)}\n\n{_stability(rows)}\n\n![Figure 8](figure8.png)"
    picture = curves(_panels(rows, FIGURE8, "K of training"), "iteration", "mean squared error")
    return Section("figure8", "Figure 8: unrolled models past K", text, {"figure8.png": picture})


def figure7(results: Results) -> Section:
    """MSE of the equilibrium model to 100 iterations, and how far the PSNR moves from its own stop on."""
    rows = saved(results, ("adaptive-deq",), FIGURE7)
    text = (
        "The equilibrium model without its stop, by the fixed-point solver that it was saved with; the stopping point "
        f"is each pair's own. {_about(rows)}\n\n{_stability(rows)}\n\n![Figure 7](figure7.png)"
    )
    picture = curves(_panels(rows, FIGURE7, "most iterations"), "iteration", "mean squared error")
    return Section("figure7", "Figure 7: the equilibrium model past its stop", text, {"figure7.png": picture})


def groups(rows: Sequence[Row]) -> list[tuple[str, str, str, list[Row]]]:
    """(task, level, label, its rows) in the order of the tables."""
    return [(task, level, label, select(rows, task=task, mismatch=level, label=label))
            for task in TASKS for level in levels(select(rows, task=task))
            for label in names(select(rows, task=task, mismatch=level))]  # fmt: skip


def stability(rows: Sequence[Row]) -> dict[str, float]:
    """Means over the seeds of what `tracing.stability` found, and the worst seed's largest mean change."""
    found = [row["stability"] for row in rows]
    return {
        "stop": float(np.mean([f["iterations"]["mean"] for f in found])),
        "psnr": float(np.mean([f["psnr"]["mean"] for f in found])),
        "end": float(np.mean([f["change_at_end"]["mean"] for f in found])),
        "largest": float(np.max([f["largest_mean_change"] for f in found])),
        "pair": float(np.mean([f["largest_change"]["mean"] for f in found])),
    }


def _stability(rows: Sequence[Row]) -> str:
    lines = []
    for task, level, label, found in groups(rows):
        f = stability(found)
        lines.append([task, level, title(label), str(len(found)), f"{f['stop']:.1f}", f"{f['psnr']:.2f}",
                      f"{f['end']:+.3f}", f"{f['largest']:.3f}", f"{f['pair']:.3f}"])  # fmt: skip
    head = ["task", "mismatch", "model", "seeds", "stops at", "PSNR there (dB)", f"change at {rows[0]['length']} (dB)",
            "largest mean change after the stop (dB, worst seed)", "largest change of a pair (dB, mean)"]  # fmt: skip
    return table(head, lines)


def proposition(results: Results) -> Section:
    """The objective after each update, and how often each update lowers it."""
    rows = [row for row in results.curves if "objective" in row]
    if not rows:
        raise Absent("curves of adaptive models with their objective")
    rows = _one_length(rows)
    lines, panels = [], []
    for task, level, label, found in groups(rows):
        panel = []
        for variant in sorted({row["variant"] for row in found}, key=lambda name: name != AS_SAVED):
            mine = select(found, variant=variant)
            shares = [float(np.mean([row["descends"][part] for row in mine])) for part in ("z", "theta", "x")]
            first, last = (float(np.mean([row["objective"][part][k] for row in mine]))
                           for part, k in (("before", 0), ("after_x", -1)))  # fmt: skip
            lines.append([task, level, title(label), variant, *(f"{share:.0%}" for share in shares),
                          f"{first:.3g}", f"{last:.3g}"])  # fmt: skip
            for dash, part in enumerate(PARTS[1:]):
                values = np.array([row["objective"][part] for row in mine])
                if variant == AS_SAVED:
                    panel.append((part.replace("_", " "), part, np.arange(1, values.shape[1] + 1), values, dash))
        if panel:
            panels.append({"title": f"{task}, {title(label)}, {level}", "lines": panel})
    head = ["task", "mismatch", "model", "variant", "z lowers it", "theta lowers it", "x lowers it", "at first",
            "at last"]  # fmt: skip
    text = (
        "J = mse(y, y_hat(z)) + gamma mse(y_hat(z), A0 z) + lam mse(x, z) per iteration (eq. 7 without the "
        "regulariser r, which the proximal network stands for). The proposition has every update lower J + r for a "
        "convex r and its exact proximal step. Shares of all pairs and iterations in which an update does not raise J. "
        f"For an equilibrium model x is mixed between iterations. {rows[0]['pairs']} pairs. {machine(rows)}."
        f"\n\n{table(head, lines)}"
    )
    pictures = {}
    if panels:
        pictures = {"proposition51.png": curves(panels, "iteration", "objective J")}
        text += "\n\n![Proposition 5.1](proposition51.png)"
    return Section("proposition51", "Proposition 5.1: the objective per iteration", text, pictures)


def _one_length(rows: Sequence[Row]) -> list[Row]:
    """Of each task, label and variant the curves of one length: the largest up to 30 iterations, else the least."""

    def who(row: Row) -> tuple[str, ...]:
        return row["task"], row["label"], row["variant"]

    lengths: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        lengths.setdefault(who(row), []).append(row["length"])
    short = {name: [n for n in found if n <= PROPOSITION] for name, found in lengths.items()}
    chosen = {name: max(short[name]) if short[name] else min(found) for name, found in lengths.items()}
    return [row for row in rows if row["length"] == chosen[who(row)]]

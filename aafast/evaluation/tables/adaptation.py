"""What adaptation earns: the ablation, Table 2 (the start of theta), and the distribution of corrected operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import published
from ..operators import MEASURES
from ..statistics import Difference, per_pair, same_weights, score, select, share_of_gap
from ..variants import AS_SAVED
from .drawing import distributions
from .results import LEVELS, TASKS, Absent, Results, Row, Section, levels, machine, names, table, title

NONE = "no-theta"
ROWS = (
    ("z and theta untouched", "frozen", "nominal"),
    ("no adaptation: the nominal operator throughout", NONE, "nominal"),
    ("the authors' AdamW step for z and theta", "authors", "nominal"),
    ("our inner solvers, nothing calibrated", "no-calibration", "nominal"),
    ("calibrated, theta untouched", "calibration-only", "nominal"),
    ("as saved", AS_SAVED, "nominal"),
    ("as saved, told the true operator", AS_SAVED, "true"),
    ("no adaptation, told the true operator", NONE, "true"),
)
STARTS = (
    ("theta-uniform", "uniform"),
    ("theta-xavier", "Xavier"),
    ("theta-uniform-10", "uniform / 10"),
    ("theta-xavier-10", "Xavier / 10"),
)

FULL = tuple(name for name, _ in STARTS[:2])
TENTH = tuple(name for name, _ in STARTS[2:])


class Gap(NamedTuple):
    """Of one model on one test set: gain of adaptation, gap to the oracle (dB), and the share of it that is closed."""

    gain: Difference
    gap: Difference
    share: float


def gap(rows: Sequence[Row]) -> Gap | None:
    """The gap of the rows of one label, task and level; None where rows lack.

    No adaptation is the same model on the nominal operator (theta untouched, nothing calibrated); the oracle is the
    better of that and of the model as saved, both told the true operator, which makes the share the smaller one.
    """
    none, ours = (select(rows, variant=name, told="nominal") for name in (NONE, AS_SAVED))
    oracles = [found for name in (AS_SAVED, NONE) if (found := select(rows, variant=name, told="true"))]
    if not (none and ours and oracles):
        return None
    oracle = max(oracles, key=lambda found: score(found).mean)
    return Gap(same_weights(ours, none), same_weights(oracle, none), share_of_gap(none, ours, oracle))


def models(results: Results, task: str) -> dict[str, list[Row]]:
    """The rows of every label of a task that has an ablation."""
    rows = results.tested(task=task)
    found = {label: select(rows, label=label) for label in names(select(rows, variant=NONE))}
    return {label: rows for label, rows in found.items() if gap_levels(rows)}


def gap_levels(rows: Sequence[Row]) -> list[str]:
    """The levels of which there is a gap."""
    return [level for level in levels(rows) if gap(select(rows, mismatch=level)) is not None]


def ablation(results: Results) -> Section:
    """PSNR of every variant, the gain of adaptation and the share of the gap that it closes."""
    parts = []
    for task in TASKS:
        for label, rows in models(results, task).items():
            parts.append(_ablation(task, label, rows))
        beside = [row for row in results.tested(task=task, told=("nominal", "true", "-")) if _is_beside(row)]
        if parts and select(beside, told="true"):
            parts.append(_beside(task, beside))
    if not parts:
        raise Absent("scores of an adaptive model without adaptation, as saved, and told the true operator")
    return Section("ablation", "Ablation: what adaptation earns", "\n\n".join(parts))


def _is_beside(row: Row) -> bool:
    return row["variant"] == "-" or (row["method"] == "robust-lu" and row["variant"] == AS_SAVED)


def _ablation(task: str, label: str, rows: Sequence[Row]) -> str:
    columns = levels(rows)
    lines = []
    for words, variant, told in ROWS:
        found = select(rows, variant=variant, told=told)
        if found:
            lines.append([words, *(_psnr(select(found, mismatch=level)) for level in columns)])
    gaps = [gap(select(rows, mismatch=level)) for level in columns]
    lines.append(["**gain of adaptation**", *("-" if g is None else g.gain.text() for g in gaps)])
    lines.append(["gap to the oracle", *("-" if g is None else g.gap.text() for g in gaps)])
    lines.append(["**share of the gap closed**", *("-" if g is None else share(g) for g in gaps)])
    seeds = len({(row["training_seed"], row["weights"]) for row in rows})
    head = (
        f"**{task}, {title(label)}**: PSNR in dB over {rows[0]['pairs']} pairs and {seeds} seed(s), the same weights "
        "in every row ± standard deviation over seeds; gain and gap against no adaptation, on the same pairs, ± "
        f"standard error. The oracle is the better of the two that are told the true operator. {machine(rows)}."
    )
    return head + "\n\n" + table(["", *columns], lines)


def _psnr(rows: Sequence[Row]) -> str:
    return score(rows).text() if rows else "-"


def share(found: Gap) -> str:
    """The share of the gap in words."""
    return "no gap" if math.isnan(found.share) else f"{found.share:.0%}"


def _beside(task: str, rows: Sequence[Row]) -> str:
    columns = levels(rows)
    lines = [[title(label), told, *(_psnr(select(rows, label=label, told=told, mismatch=level)) for level in columns)]
             for label in names(rows) for told in ("-", "nominal", "true")
             if select(rows, label=label, told=told)]  # fmt: skip
    return f"**{task}, beside it**: PSNR in dB\n\n" + table(["method", "told", *columns], lines)


def table2(results: Results) -> Section:
    """PSNR and SSIM by the start of theta."""
    lines, largest = [], 0.0
    for task in TASKS:
        rows = results.tested(task=task, told="nominal")
        largest = max([largest, *(abs(change.mean) for change in changes(rows, FULL))])
        for label in names(select(rows, variant=tuple(name for name, _ in STARTS))):
            for level in levels(select(rows, label=label, variant=STARTS[0][0])):
                mine = select(rows, label=label, mismatch=level)
                saved = select(mine, variant=AS_SAVED)
                if not saved:
                    continue
                cells = [f"{score(saved).text()} / {score(saved, 'ssim').text(4)}"]
                for name, _ in STARTS:
                    found = select(mine, variant=name)
                    cells.append(same_weights(found, saved).text(3) if found else "-")
                paper = published.TABLE2[task].get(label)
                lines.append([task, title(label), level, *cells, "" if paper is None else f"{paper:.3f}"])
    if not lines:
        raise Absent("scores with other starts of theta")
    heads = ["task", "model", "mismatch", "saved: PSNR dB / SSIM", *(f"{words}: change in dB" for _, words in STARTS)]
    text = table([*heads, "largest in the paper"], lines) + (
        "\n\nTheta's kernels and matrices start at other random values, drawn at the named scheme's own scale and at a "
        "tenth of it, the scale at which this package starts its networks; vectors (the wavelet's correction among "
        "them) keep their start. Changes on the same pairs ± standard error. "
        f"The largest change by a full uniform or Xavier start is {largest:.3f} dB."
    )
    return Section("table2", "Table 2: the start of theta", text)


def changes(rows: Sequence[Row], starts: Sequence[str]) -> list[Difference]:
    """The change of PSNR by each of these starts of theta, of every model and level among the rows."""
    found = []
    for label in names(select(rows, variant=tuple(starts))):
        for level in levels(select(rows, label=label, variant=tuple(starts))):
            mine = select(rows, label=label, mismatch=level)
            saved = select(mine, variant=AS_SAVED)
            found += [same_weights(other, saved) for name in starts if saved and (other := select(mine, variant=name))]
    return found


def operators(results: Results) -> Section:
    """Distribution of the measure of the told and of the corrected operator."""
    parts, panels = [], []
    for task in TASKS:
        measure, larger = MEASURES[task]
        lines = []
        rows = [row for row in results.tested(task=task, variant=AS_SAVED, told="nominal")
                if "estimated" in row.get("operator", {})]  # fmt: skip
        for label in names(rows):
            for level in levels(select(rows, label=label)):
                found = select(rows, label=label, mismatch=level)
                told, ours = (per_pair(found, f"{which}_operator") for which in ("told", "estimated"))
                lines.append([title(label), level, _spread(told), _spread(ours), f"{_nearer(told, ours, larger):.0%}"])
                if level in LEVELS[1:]:
                    panels.append((f"{task}, {title(label)}, {level}", measure, told.ravel(), ours.ravel()))
        if lines:
            head = ["model", "mismatch", "told", "corrected", "pairs that came nearer"]
            words = (
                f"**{task}**: {measure} with the true operator ({'1' if larger else '0'} is perfect), mean [10th, "
                "50th, 90th percentile] over pairs and seeds"
            )
            parts.append(f"{words}\n\n{table(head, lines)}")
    if not parts:
        raise Absent("scores of models that correct their operator")
    picture = {"operators.png": distributions(panels)} if panels else {}
    text = "\n\n".join([*parts, *(f"![distributions]({name})" for name in picture)])
    return Section("operators", "How near the corrected operator comes", text, picture)


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, (10, 50, 90))
    return f"{values.mean():.3f} [{low:.3f}, {middle:.3f}, {high:.3f}]"


def _nearer(told: np.ndarray, ours: np.ndarray, larger: bool) -> float:
    return float((ours > told if larger else ours < told).mean())

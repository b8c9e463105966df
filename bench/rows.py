"""Rows of the suites: what every row says, where it was measured, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aafast.evaluation.rows import Row, facts, read

__all__ = ["Row", "complaints", "duration", "facts", "line", "quantiles", "read", "table"]

FIELDS = (
    "suite", "task", "method", "backend", "batch", "shape", "iterations", "median_s", "p20_s", "p80_s", "peak_mb",
    "baseline", "speedup", "gate", "device", "versions", "commit",
)
GATE = ("metric", "value", "tolerance", "ok")
ORACLE = {"metric": "the baseline itself", "value": 0.0, "tolerance": 0.0, "ok": True}


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 20th and 80th percentile."""
    p20, median, p80 = np.quantile(np.asarray(seconds), [0.2, 0.5, 0.8])
    return {"median_s": float(median), "p20_s": float(p20), "p80_s": float(p80)}


def complaints(row: Row) -> list[str]:
    """What is wrong with a row: fields that lack, a gate that is none, a speed-up beside a red gate."""
    found = [f"no {name}" for name in FIELDS if name not in row]
    if found:
        return found
    gate = row["gate"]
    if not isinstance(gate, dict) or set(GATE) - set(gate):
        return ["a gate without metric, value, tolerance and ok"]
    if not gate["ok"] and any(row.get(name) is not None for name in row if name.startswith("speedup")):
        found.append("a speed-up beside a red gate")
    if (row["speedup"] is None) != (row["baseline"] is None) and gate["ok"]:
        found.append("a speed-up and its baseline go together")
    if row["median_s"] is not None and not 0 < row["p20_s"] <= row["median_s"] <= row["p80_s"]:
        found.append("quantiles out of order")
    return found


def line(row: Row) -> str:
    """A row in one line of progress."""
    what = " ".join(str(row[name]) for name in ("task", "method", "op") if row.get(name))
    size = "x".join(str(n) for n in [row["batch"], *row["shape"]] if n is not None)
    speed = "" if row["speedup"] is None else f", {row['speedup']:.2f}x of {row['baseline']}"
    gate = "" if row["gate"]["ok"] else f", RED: {row['gate']['metric']} {row['gate']['value']}, no speed-up"
    return f"{row['suite']} {what} {row['backend']} {size}: {duration(row['median_s'])}{speed}{gate}"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "not timed"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def table(rows: Sequence[Row]) -> str:
    """The rows of a run as aligned text, a suite after the other."""
    parts = []
    for suite in dict.fromkeys(row["suite"] for row in rows):
        chosen = [row for row in rows if row["suite"] == suite]
        cells = [_HEADS[suite], *(_cells(row) for row in chosen)]
        widths = [max(len(cell[k]) for cell in cells) for k in range(len(cells[0]))]
        parts.append("\n".join("  ".join(map(str.ljust, cell, widths)).rstrip() for cell in cells))
    return "\n\n".join(parts)


_HEADS = {
    "solve": ("task", "method", "backend", "size", "iterations", "median", "p20 .. p80", "an iteration", "peak MB",
              "over reference", "over plain", "gate"),
    "ops": ("op", "backend", "precision", "size", "median", "p20 .. p80", "GFLOP/s", "of peak", "floor", "of floor",
            "speed-up", "gate"),
    "survey": ("method", "backend", "size", "median", "p20 .. p80", "traces/s", "MB/s", "waited for disk", "solving",
               "speed-up", "gate"),
}  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    def number(name: str, form: str) -> str:
        return "-" if row.get(name) is None else format(row[name], form)

    gate = row["gate"]
    value = gate["value"] if isinstance(gate["value"], str) else f"{gate['value']:.1e}"
    verdict = "-" if gate == ORACLE else f"{'ok' if gate['ok'] else 'RED'} {value}"
    size = "x".join(str(n) for n in [row["batch"], *row["shape"]] if n is not None)
    spread = "-" if row["median_s"] is None else f"{duration(row['p20_s'])} .. {duration(row['p80_s'])}"
    if row["suite"] == "solve":
        return (row["task"], row["method"], row["backend"], size, str(row["iterations"]), duration(row["median_s"]),
                spread, duration(row["s_per_iteration"]), number("peak_mb", ".0f"), number("speedup", ".2f"),
                number("speedup_over_plain", ".2f"), verdict)  # fmt: skip
    speed = "-" if row["speedup"] is None else f"{row['speedup']:.2f} of {row['baseline']}"
    if row["suite"] == "survey":
        return (row["method"], row["backend"], size, duration(row["median_s"]), spread, number("traces_per_s", ".0f"),
                number("mb_per_s", ".1f"), number("share_waited_io", ".0%"), number("share_solve", ".0%"), speed,
                verdict)  # fmt: skip
    floor = "-" if row.get("floor_s") is None else duration(row["floor_s"])
    return (row["op"], row["backend"], row.get("precision", "float32"), size, duration(row["median_s"]), spread,
            number("gflops", ".1f"), number("peak_share", ".0%"), floor, number("floor_share", ".0%"), speed,
            verdict)  # fmt: skip

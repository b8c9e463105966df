"""Table 3: seconds per batch, from the rows of the solve suite of the benchmarks."""

from __future__ import annotations

from .. import published
from .results import TASKS, Absent, Results, Section, table, title

METHODS = ("robust-lu", "adaptive-lu", "adaptive-deq")


def table3(results: Results) -> Section:
    """Milliseconds per batch of the authors' iteration and of this package."""
    lines, notes = [], set()
    rows = [row for row in results.solves if row["median_s"] is not None and not row.get("quick")]
    for task in TASKS:
        for method in METHODS:
            mine = [row for row in rows if (row["task"], row["method"]) == (task, method)]
            for device in dict.fromkeys(row["device_name"] for row in mine):
                here = [row for row in mine if row["device_name"] == device]
                reference = next((row for row in here if row["backend"] == "reference"), None)
                engine = next((row for row in here if row["engine"]), None)
                if engine is None:
                    continue
                size = "x".join(str(n) for n in [engine["batch"], *engine["shape"]])
                mean, sd = published.TABLE3[task][method]
                lines.append([task, title(method), size, str(engine["iterations"]), _ms(reference), _ms(engine),
                              f"{mean:.0f} ± {sd:.1f}", device])  # fmt: skip
                notes.add(f"{device}: {engine['threads']} thread(s), torch {engine['versions']['torch']}, aafast "
                          f"{engine['versions']['aafast']} at {engine['commit'] or 'no commit'}")  # fmt: skip
    if not lines:
        raise Absent("rows of the solve suite of `aafast bench`")
    head = ["task", "method", "batch", "iterations", "the authors' iteration (ms)", "aafast (ms)",
            "paper, RTX 3080 (ms)", "device"]  # fmt: skip
    text = (
        "Milliseconds per batch: median [20th to 80th percentile]. The iterations timed are in the table; the paper's "
        "equilibrium models take up to 30 or 40 of them. " + "; ".join(sorted(notes)) + ".\n\n" + table(head, lines)
    )
    return Section("table3", "Table 3: runtime", text)


def _ms(row: dict | None) -> str:
    if row is None:
        return "-"
    return f"{1e3 * row['median_s']:.0f} [{1e3 * row['p20_s']:.0f} to {1e3 * row['p80_s']:.0f}]"

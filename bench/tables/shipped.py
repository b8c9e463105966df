"""The shipped models: scores beside the classical methods, and what their inner solvers and the true operator earn.

Run: python bench/tables/shipped.py [NAME...] [--pairs N]
It replaces the rows of these models; docs and README take their figures from its file.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from aafast.config import InnerSolver
from aafast.evaluation import evaluate
from aafast.evaluation.classical import CLASSICAL
from aafast.evaluation.contestants import Entry
from aafast.evaluation.rows import read, write
from aafast.evaluation.variants import AS_SAVED, variant
from aafast.tasks import TASKS, shipped

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-shipped.jsonl"
LEVELS = ("none", "in", "out", "beyond")
VARIANTS = (AS_SAVED, "frozen", "no-theta", "authors", "no-calibration", "calibration-only")
# Other updates of theta than the model was saved with, where it corrects a wavelet.
THETA = {
    "adamw, lr 1e-3": InnerSolver("adamw", lr=1e-3),
    **{f"least-squares, damping {d:g}": InnerSolver("least-squares", damping=d) for d in (0.3, 1.0, 3.0, 10.0)},
}


def others(entry: Entry) -> list[Entry]:
    """The model with each of the other updates of theta."""
    if entry.model.config.residual != "wavelet":
        return []
    found = []
    for label, solver in THETA.items():
        model = variant(entry.model, AS_SAVED)
        model.config = replace(model.config, theta_solver=solver)
        found.append(replace(entry, model=model, variant=label))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="shipped models (default: the best of each task)")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    names = arguments.names or [name for name in shipped() if name in TASKS]
    entries = [Entry.of(name) for name in names]
    tasks = {entry.model.config.task for entry in entries}
    before = read(arguments.out) if arguments.out.is_file() else []
    labels = {entry.label for entry in entries}
    rows = [row for row in before if row["label"] not in labels and (row["variant"] != "-" or row["task"] not in tasks)]
    options = {"mismatch": LEVELS, "pairs": arguments.pairs, "say": lambda text: print(text, file=sys.stderr)}
    for task in sorted(tasks):
        mine = [entry for entry in entries if entry.model.config.task == task]
        classical = [name for of, name in CLASSICAL if of == task]
        jobs = [
            evaluate([*mine, *classical], task, variants=VARIANTS, told=("nominal", "true"), **options),
            *(evaluate(changed, task, **options) for entry in mine if (changed := others(entry))),
        ]
        for row in (row for job in jobs for row in job):
            rows.append(row)
            write(arguments.out, rows)


if __name__ == "__main__":
    main()

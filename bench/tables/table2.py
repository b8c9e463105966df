"""Table 2: another start of theta at evaluation: as saved, Kaiming uniform, Xavier.

Run: python bench/tables/table2.py MODELS [--tasks TASK...] [--pairs N] [--again]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-table2.jsonl"
STARTS = ("as-saved", "theta-uniform", "theta-xavier", "theta-uniform-10", "theta-xavier-10")

if __name__ == "__main__":
    experiment = Experiment.from_command_line(__doc__, OUT)
    experiment.scores(methods=("adaptive-lu", "adaptive-deq"), variants=STARTS, mismatch=("out",))

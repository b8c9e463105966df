"""Figures 6 and 8: error per iteration of the unrolled models, up to the K = 5 of training and on to 10.

Run: python bench/tables/figures6and8.py MODELS [--tasks TASK...] [--again]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-figures6and8.jsonl"

if __name__ == "__main__":
    Experiment.from_command_line(__doc__, OUT).curves(("robust-lu", "adaptive-lu"), 10, ("in", "out"))

"""Figures 3 to 5: one test pair of each task as every method reconstructs it, out of distribution.

Run: python bench/tables/figures3to5.py MODELS [--tasks TASK...]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-figures3to5.jsonl"
FIGURES = {"deblur": "figure3", "deconv": "figure4", "defog": "figure5"}

if __name__ == "__main__":
    experiment = Experiment.from_command_line(__doc__, OUT)
    for task, figure in FIGURES.items():
        experiment.picture(task, figure, ("direct", "robust-lu", "adaptive-lu", "adaptive-deq"))

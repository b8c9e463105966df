"""Figures 3 to 5: one test pair of each task out of distribution, by every method and a classical one.

Run: python bench/tables/figures3to5.py MODELS [--tasks TASK...]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-figures3to5.jsonl"
FIGURES = {"deblur": ("figure3", "tikhonov"), "deconv": ("figure4", "fista"), "defog": ("figure5", "dark-channel")}
METHODS = ("direct", "robust-lu", "adaptive-lu", "adaptive-deq")

if __name__ == "__main__":
    experiment = Experiment.from_command_line(__doc__, OUT)
    for task, (figure, classical) in FIGURES.items():
        experiment.picture(task, figure, METHODS, classical=(classical,))

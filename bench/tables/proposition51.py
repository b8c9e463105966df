"""Proposition 5.1: the objective per iteration, and how often each of the three updates lowers it.

Run: python bench/tables/proposition51.py MODELS [--tasks TASK...] [--again]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-proposition51.jsonl"

if __name__ == "__main__":
    Experiment.from_command_line(__doc__, OUT).curves(
        ("adaptive-lu", "adaptive-deq"), 30, variants=("as-saved", "authors")
    )

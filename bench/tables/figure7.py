"""Figure 7: error per iteration of the equilibrium model to 100 iterations, past its own stop.

Run: python bench/tables/figure7.py MODELS [--tasks TASK...] [--again]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-figure7.jsonl"

if __name__ == "__main__":
    Experiment.from_command_line(__doc__, OUT).curves(("adaptive-deq",), 100, ("in", "out"))

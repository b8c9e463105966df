"""Figure 9: deblurring told kernels of other variances, the paper's 1, 3, 5 and 7 over the true 7, and 9.

Run: python bench/tables/figure9.py MODELS [--pairs N] [--again]
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment, variance_times

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-figure9.jsonl"
TOLD = {f"variance x {k}/7": variance_times(k / 7) for k in (1, 3, 5, 7, 9)}
METHODS = ("robust-lu", "adaptive-lu", "adaptive-deq")

if __name__ == "__main__":
    experiment = Experiment.from_command_line(__doc__, OUT)
    experiment.told("deblur", METHODS, TOLD)
    experiment.picture("deblur", "figure9", METHODS, mismatch="none", tellers=TOLD)

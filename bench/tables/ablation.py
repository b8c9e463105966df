"""The ablation: no adaptation, the authors' single AdamW step, our inner solvers and calibration, the true operator.

Run: python bench/tables/ablation.py MODELS [--tasks TASK...] [--pairs N] [--again]
Classical methods and robust LU stand beside, told the nominal and the true forward model.
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-ablation.jsonl"
VARIANTS = ("as-saved", "frozen", "no-theta", "authors", "no-calibration", "calibration-only")
GAP = ("as-saved", "no-theta")  # what the gain and the gap to the oracle are counted from
CLASSICAL = {"deblur": ("wiener", "tikhonov"), "deconv": ("wiener", "fista"), "defog": ("dark-channel", "inversion")}

if __name__ == "__main__":
    experiment = Experiment.from_command_line(__doc__, OUT)
    experiment.scores(("adaptive-lu",), variants=VARIANTS)
    experiment.scores(("adaptive-lu",), variants=GAP, told=("true",))
    experiment.scores(("adaptive-deq",), variants=GAP, told=("nominal", "true"), mismatch=("in", "out"))
    experiment.scores(("robust-lu",), CLASSICAL, told=("nominal", "true"))

"""Table 1: PSNR and SSIM of every method, with the published robust LU for deblurring and the classical methods.

Run: python bench/tables/table1.py MODELS [--tasks TASK...] [--pairs N] [--again]
The distribution of the corrected wavelet's correlation with the true one comes from the same rows.
"""

from pathlib import Path

from aafast.evaluation.experiments import Experiment

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-table1.jsonl"
CLASSICAL = {
    "deblur": ("data", "wiener", "tikhonov"),
    "deconv": ("data", "wiener", "fista"),
    "defog": ("data", "dark-channel", "inversion"),
}

if __name__ == "__main__":
    experiment = Experiment.from_command_line(__doc__, OUT)
    experiment.scores(classical=CLASSICAL)
    experiment.scores(("robust-lu",), variants=("as-published",), tasks=("deblur",))

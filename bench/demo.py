"""Scores of the demo's lines: PSNR, correlation and quality of every method, on several seeds.

Beside what the demo shows: the model told the nominal wavelet as it is, and the estimated one calibrated, each the
opposite of what a run does by default.

Run: python bench/demo.py [--seeds N] [--out FILE.jsonl]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch

import aafast
from aafast.demo import run_demo
from aafast.demo.outcome import DemoResult
from aafast.demo.scores import Row, score
from aafast.survey import calibrate_wavelet, estimate_wavelet, load_solver, parse_wavelet, reconstruct_section
from aafast.survey.gain import smooth_gain


def opposites(result: DemoResult) -> Iterator[Row]:
    """The model on the demo's line with the nominal wavelet not calibrated, and with the estimated one calibrated."""
    line, live, solve = result.line, ~result.line.dead, load_solver("deconv")
    dt = 1000 * line.dt
    estimated = estimate_wavelet(line.data / smooth_gain(line.data, live), dt, live=live)
    for name, told, wavelet in (
        ("aafast, not calibrated", "nominal", parse_wavelet(f"ricker:{line.nominal_hz:g}", dt, len(line.data))),
        ("aafast, calibrated", "estimated", calibrate_wavelet(estimated, line.data, live)),
    ):
        found = reconstruct_section(line.data, wavelet, solve, live=live)
        yield score(name, told, line.target, found.x, live, found.seconds["solve"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demo.jsonl")
    arguments = parser.parse_args()
    versions = {"aafast": aafast.__version__, "torch": torch.__version__}
    where = {"device": "cpu", "machine": platform.machine(), "versions": versions}
    lines = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = run_demo(folder, seed=seed, report=False, progress=False)
        for row in (*result.rows, *opposites(result)):
            facts = {"suite": "demo", "seed": seed, "threads": result.threads, **where}
            lines.append(json.dumps({**facts, **asdict(row)}))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

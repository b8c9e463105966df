"""Scores of the demo's lines: PSNR, correlation and quality of every method, on several seeds.

Run: python bench/demo.py [--seeds N] [--out FILE.jsonl]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

import aafast
from aafast.demo import run_demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demo.jsonl")
    arguments = parser.parse_args()
    versions = {"aafast": aafast.__version__, "torch": torch.__version__}
    where = {"device": "cpu", "machine": platform.machine(), "versions": versions}
    lines = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = run_demo(folder, seed=seed, report=False, progress=False)
        for row in result.rows:
            facts = {"suite": "demo", "seed": seed, "threads": result.threads, **where}
            lines.append(json.dumps({**facts, **asdict(row)}))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

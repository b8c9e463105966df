"""Table 3: runtime per batch at the paper's sizes, by the solve suite of the benchmarks, each figure behind its gate.

Run: python bench/tables/table3.py [--device cpu|cuda]
It takes hours on a CPU, wants a quiet machine, and needs no trained models: the sizes alone matter.
"""

import argparse
from pathlib import Path

from aafast.cli import main

RESULTS = Path(__file__).resolve().parents[1] / "results"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    rows = RESULTS / f"solve-{device}.jsonl"
    raise SystemExit(main(["bench", "--suite", "solve", "--device", device, "--out", str(rows)]))

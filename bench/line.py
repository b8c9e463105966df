"""Time and memory of `aafast run` on one SEG-Y file, as a user's whole command.

Run: python bench/line.py FILE.sgy [--runs N] [--out FILE.jsonl]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import aafast


def one_run(source: Path, folder: Path) -> tuple[float, float]:
    """Seconds and peak MB of one command."""
    command = [sys.executable, "-m", "aafast", "run", str(source), str(folder / "out.sgy"), "--quiet"]
    begin = time.perf_counter()
    process = subprocess.Popen([*command, "--report", str(folder / "report.html")])
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"aafast run failed on {source.name}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "run-line.jsonl")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [one_run(arguments.source, Path(folder)) for _ in range(arguments.runs)]
    row = {
        "suite": "run",
        "file": arguments.source.name,
        "bytes": arguments.source.stat().st_size,
        "runs": arguments.runs,
        "median_s": statistics.median(seconds for seconds, _ in runs),
        "min_s": min(seconds for seconds, _ in runs),
        "max_s": max(seconds for seconds, _ in runs),
        "peak_mb": max(memory for _, memory in runs),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {"aafast": aafast.__version__, "torch": torch.__version__},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(row) + "\n", encoding="utf-8")
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()

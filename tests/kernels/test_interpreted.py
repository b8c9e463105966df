"""The logic of the Triton kernels without a GPU: under Triton's interpreter, chosen before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def test_kernels_match_the_oracle_under_the_interpreter():
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "interpreted_ops.py")],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all ok")

"""The logic of the Triton kernels without a GPU: under Triton's interpreter, chosen before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.mark.parametrize("script", ["interpreted_ops.py", "interpreted_stack.py", "interpreted_engine.py"])
def test_kernels_match_the_oracle_under_the_interpreter(script):
    done = subprocess.run(
        [sys.executable, str(SUPPORT / script)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("all ok")

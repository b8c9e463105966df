"""The ops suite: rows of every operation, and a gate that keeps a wrong one from being timed."""

import subprocess
import sys

import pytest
import torch

from aafast.bench.op_table import OPS
from aafast.bench.rows import complaints, read
from aafast.bench.verify import gate

WRONG = """
import sys
if any(word.endswith("ops.py") for word in sys.orig_argv):
    from aafast import ops
    right = ops.z_step
    ops.z_step = lambda *args, **options: right(*args, **options) * 1.001
"""


def test_a_quick_run_has_a_row_for_every_backend_and_the_peak(tmp_path):
    file = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "aafast", "bench", "--suite", "ops", "--quick", "--out", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = read(file)
    assert not [complaint for row in found for complaint in complaints(row)]
    assert {row["op"] for row in found} == {"sgemm", *(op.name for op in OPS)}
    for row in found:
        assert row["gflops"] > 0 and row["peak_share"] > 0
        assert (row["speedup"] is None) == (row["op"] == "sgemm" or row["backend"] in ("reference", "eager"))


def test_a_wrong_operation_is_not_timed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WRONG)
    file = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "pytest", "bench/ops.py", "-q", "-k", "z_step", "--quick", f"--rows={file}"]
    done = subprocess.run(
        [*command, "--benchmark-max-time=0.01"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=__file__.rpartition("/tests/")[0],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {row["backend"]: row for row in read(file)}
    assert rows["reference"]["gate"]["ok"] and rows["reference"]["median_s"] > 0
    assert not rows["eager"]["gate"]["ok"] and rows["eager"]["median_s"] is None and rows["eager"]["speedup"] is None


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_inputs_are_random_and_the_plain_form_is_the_oracle(op):
    shape = (2, op.shape[1], 12, 10)
    args = op.inputs(shape, torch.Generator().manual_seed(0))
    assert all(part.std() > 0 for part in args if isinstance(part, torch.Tensor) and part.numel() > 1)
    assert op.flops(shape) > 0
    assert gate(op.function(*args, backend="eager"), op.oracle(*args), op.tolerance).ok

"""bench/gpu.sh with a Python that only answers: what it runs, what it skips and says, how it ends."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "gpu.sh"
ANSWERS = """#!/bin/sh
echo "$@" >> "{calls}"
case "$*" in
  "-") [ "{device}" = yes ] && echo 90a; exit 0 ;;
  *"import {absent}") exit 1 ;;
  *"{failing}"*) echo "this went wrong"; exit 3 ;;
  *get_device_name*) [ "{device}" = yes ] && echo "Some GPU"; exit 0 ;;
esac
exit 0
"""


@pytest.fixture
def run(tmp_path):
    def run(device="no", failing="nothing fails", absent="nothing"):
        calls, python, out = tmp_path / "calls", tmp_path / "python", tmp_path / "out"
        python.write_text(ANSWERS.format(calls=calls, device=device, failing=failing, absent=absent))
        python.chmod(0o755)
        environment = {**os.environ, "PYTHON": str(python), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", SCRIPT, out], env=environment, capture_output=True, text=True, timeout=60)
        assert (out / "summary.txt").read_text() == done.stdout
        return done.returncode, done.stdout, calls.read_text()

    return run


def test_without_a_device_it_says_what_it_skipped(run):
    code, said, calls = run()
    assert code == 0, said
    for line in ("device: none that torch sees", "build: ok", "tests: skipped, no CUDA device",
                 "sanitizers: skipped, no CUDA device", "benchmarks: skipped, no CUDA device"):
        assert line in said
    assert "tests/gpu" not in calls and "bench --device" not in calls


def test_with_a_device_every_stage_runs(run):
    code, said, calls = run(device="yes")
    assert code == 0, said
    for part in ("tests/gpu", "--method adaptive-deq", "--suite ops", "--precision strict"):
        assert part in calls
    assert "solve-deconv: ok" in said and "Some GPU" in said


def test_a_stage_that_fails_keeps_none_from_running(run):
    code, said, calls = run(device="yes", failing="tests/gpu")
    assert code == 1
    assert "tests: FAILED with code 3" in said and "    this went wrong" in said
    assert "--precision strict" in calls and "some stage failed" in said


def test_stages_without_time_left_are_skipped(run, monkeypatch):
    monkeypatch.setenv("AAFAST_GPU_SECONDS", "0")
    code, said, calls = run(device="yes")
    assert code == 1 and "build: skipped, no time left of 0 s" in said and "aafast info" not in calls


def test_rows_of_a_stopped_benchmark_are_kept_and_all_rows_are_gathered(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".ops.jsonl.123-0123abcd.part").write_text('{"row": 1}\n')
    (tmp_path / "out" / "lu.jsonl").write_text('{"row": 2}\n')
    code, said, _ = run(device="yes")
    assert code == 0 and "gpu-some-gpu.jsonl" in said
    assert (tmp_path / "out" / "ops.jsonl").read_text() == '{"row": 1}\n'
    assert (tmp_path / "out" / "gpu-some-gpu.jsonl").read_text() == '{"row": 2}\n{"row": 1}\n'


def test_without_a_build_nothing_runs(run):
    code, said, calls = run(device="yes", failing="-m pip")
    assert code == 1 and "nothing more can run" in said and "aafast info" not in calls


def test_what_is_not_installed_is_named(run):
    code, said, _ = run(device="yes", absent="pytest_benchmark")
    assert code == 0 and "benchmarks: skipped, pytest-benchmark or safetensors is not installed" in said


def test_it_wants_a_folder():
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2 and "usage" in done.stderr

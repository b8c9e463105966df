"""Peak memory of a solve, above what the process held before it; each backend is measured in a process of its own.

Run: python -m aafast.bench.memory TASK METHOD BACKEND [--quick] [--device cpu|cuda]; prints MB.
The mark is that of this process's memory map: getrusage would also count what the parent held when it started this.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

import aafast
from aafast.bench.backends import COMPILE, prepared
from aafast.bench.cases import METHODS, TASKS, Case

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status(name: str) -> float | None:
    """An entry of /proc/self/status in MB, or None where there is no such file or entry."""
    try:
        found = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    except OSError:
        return None
    return int(found[0].split()[1]) / 1024 if found else None


def _reset_peak() -> None:
    """Begin the high-water mark anew where the system allows it; else it is that of the whole process."""
    try:
        _RESET.write_text("5")
    except OSError:
        return


def _return_freed() -> None:
    """Give what was freed back to the system, so that a solve does not find it there."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def peak(case: Case, name: str) -> float:
    """MB that a solve adds at its peak; what torch loads when it is first used is loaded before, by a tiny one.

    A compiled solve has compiled for its size before, and what that left behind is counted.
    """
    prepared(replace(case, quick=True), name)()
    solve = prepared(case, name)
    _return_freed()
    if case.device != "cpu":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        solve()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    resident = _status("VmRSS")
    if resident is None:
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if name == COMPILE:
        solve()
        _return_freed()
    _reset_peak()
    solve()
    mark = _status("VmHWM")
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if mark is None else mark) - resident


def measure(case: Case, name: str) -> float | None:
    """`peak` in a fresh process, or None where that process fails (its errors go to stderr)."""
    command = [sys.executable, "-m", "aafast.bench.memory", case.task, case.method, name, "--device", case.device]
    command += ["--quick"] if case.quick else []
    root = str(Path(aafast.__file__).resolve().parents[1])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("backend")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    case = Case(arguments.task, arguments.method, arguments.quick, arguments.device)
    print(peak(case, arguments.backend))


if __name__ == "__main__":
    main()

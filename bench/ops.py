"""Time of each backend of the two operations, at the sizes of the paper's seismic task.

The baseline is the faster of the oracle and plain torch (`eager`) in the same run: the oracle is written to be right
and takes some of its sums in float64, so a speed-up over it alone would flatter.

Run by `make bench`, or `python -m pytest bench/ops.py`. AAFAST_BENCH_RESULTS=FILE appends JSON lines.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable

import pytest
import torch

import aafast
from aafast import ops
from aafast.reference import ops as oracle
from bench.verify import gate, speedup

BATCH, PIXELS, ROWS = 32, 128 * 50, 5
MIX = (ROWS - 1, ROWS, 1e-3, 1.0, True)
STEP = (1e-4, 0.01, 1e-8)
TOLERANCE = {"z_step": 2e-7, "anderson_mix": 5e-6}
DEVICES = ["cpu", "cuda"]
BASELINES = ("reference", "eager")
medians: dict[tuple[str, str], dict[str, float]] = {}


def inputs(op: str, device: str) -> tuple:
    """Random float32 arguments of one call; never zeros, on which caches and branches behave better."""
    generator = torch.Generator().manual_seed(0)
    if op == "z_step":
        z, g = torch.randn(2, BATCH, 1, PIXELS, generator=generator)
        return z.to(device), (1e-8 * g).to(device), *STEP
    X, F = torch.randn(2, BATCH, ROWS, PIXELS, generator=generator)
    gram = (F - X) @ (F - X).mT
    return X.to(device), F.to(device), gram.to(device), *MIX


def implementation(op: str, backend: str) -> Callable:
    if backend == "reference":
        return getattr(oracle, op)
    return lambda *args: getattr(ops, op)(*args, backend=backend)


@pytest.mark.parametrize("backend", ["reference", *ops.BACKENDS])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", ["z_step", "anderson_mix"])
def test_op(benchmark, op, device, backend):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    reason = None if backend == "reference" else ops.can_run(backend, torch.device(device))
    if reason is not None:
        pytest.skip(reason)
    args = inputs(op, device)
    run = implementation(op, backend)
    in_double = [arg.double() if isinstance(arg, torch.Tensor) else arg for arg in args]
    verdict = gate(run(*args), getattr(oracle, op)(*in_double), TOLERANCE[op])
    assert verdict.ok, f"{op} on {backend}: {verdict}; nothing is timed"

    def timed():
        run(*args)
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"{op}, {device}, float32, {BATCH} x {PIXELS}"
    benchmark(timed)
    if benchmark.disabled:
        return
    stats = benchmark.stats.stats
    known = medians.setdefault((op, device), {})
    known[backend] = stats.median
    baseline = min((name for name in BASELINES if name in known), key=known.__getitem__, default=None)
    row = {
        "op": op,
        "backend": backend,
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "median_s": stats.median,
        "quartiles_s": [stats.q1, stats.q3],
        "baseline": None if backend in BASELINES else baseline,
        "speedup": None if backend in BASELINES or not baseline else speedup(verdict, known[baseline], stats.median),
        "error": verdict.error,
        "tolerance": verdict.tolerance,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "aafast": aafast.__version__,
    }
    benchmark.extra_info.update(row)
    if "AAFAST_BENCH_RESULTS" in os.environ:
        with open(os.environ["AAFAST_BENCH_RESULTS"], "a") as file:
            file.write(json.dumps(row) + "\n")

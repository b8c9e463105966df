"""Time of each backend of each operation in op_table.py, and the peak that it may be held against.

The baseline is the faster of the oracle and plain torch (`eager`) in the same run: the oracle is written to be right
and may take sums in float64, so a speed-up over it alone would flatter.

Run by `aafast bench --suite ops`, or `python -m pytest bench/ops.py` with the options of conftest.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from aafast import ops
from aafast.bench.floors import products_in
from aafast.bench.op_table import OPS, Op
from aafast.bench.rows import Row, facts, quantiles
from aafast.bench.verify import Verdict, gate

BASELINES = ("reference", "eager")
QUICK = (2, 16, 12)  # batch, height and width of --quick
SQUARE, QUICK_SQUARE, SGEMM_TOLERANCE = 2048, 64, 1e-5
medians: dict[str, dict[str, float]] = {}
peaks: dict[int, float] = {}  # GFLOP/s by threads
truths: dict[str, Any] = {}  # of the last operation


def each(value: Any, change: Any) -> Any:
    """`value` with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    return type(value)(each(part, change) for part in value) if isinstance(value, list | tuple) else value


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def complete(
    benchmark: Any, name: str, backend: str, shape: tuple[int, ...], flops: float, verdict: Verdict, device: str
) -> Row:
    """The row of what was timed, or of what a red gate kept from being timed."""
    stats = None if not verdict.ok or benchmark.disabled else benchmark.stats.stats
    spread = dict.fromkeys(("median_s", "p20_s", "p80_s")) if stats is None else quantiles(stats.data)
    seconds = spread["median_s"]
    known = medians.setdefault(name, {})
    if seconds is not None:
        known[backend] = seconds
    others = [other for other in BASELINES if other in known and backend not in BASELINES]
    baseline = min(others, key=known.__getitem__, default=None) if seconds is not None else None
    gflops = flops / seconds / 1e9 if seconds else None
    peak = peaks.get(torch.get_num_threads())
    return {
        "suite": "ops",
        "task": None,
        "method": None,
        "op": name,
        "backend": backend,
        "batch": shape[0],
        "shape": list(shape[1:]),
        "iterations": 1,
        **spread,
        "peak_mb": None,
        "baseline": baseline,
        "speedup": known[baseline] / seconds if baseline else None,
        "gflops": gflops,
        "peak_share": gflops / peak if gflops and peak else None,
        "gate": {"metric": "largest error over largest value", "value": _number(verdict.error),
                 "tolerance": verdict.tolerance, "ok": verdict.ok},
        **facts(device),
    }  # fmt: skip


def _number(error: float) -> float | str:
    return error if abs(error) < float("inf") else str(error)


def processors() -> list[int]:
    """One thread, and as many as torch uses."""
    return sorted({1, torch.get_num_threads()})


@pytest.mark.parametrize("count", processors(), ids=lambda count: f"threads-{count}")
def test_sgemm(benchmark, count, record, pytestconfig):
    """The peak of the other rows: torch.mm of square float32 matrices."""
    if pytestconfig.getoption("--device") != "cpu":
        pytest.skip("the peak is measured on the CPU")
    side = QUICK_SQUARE if pytestconfig.getoption("--quick") else SQUARE
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, side, side, generator=generator)
    with threads(count):
        verdict = gate(a @ b, a.double() @ b.double(), SGEMM_TOLERANCE)
        if verdict.ok:
            benchmark(torch.mm, a, b)
        name = "1 thread" if count == 1 else f"{count} threads"
        row = complete(benchmark, "sgemm", name, (1, side, side), 2.0 * side**3, verdict, "cpu")
    if row["gflops"]:
        peaks[count] = row["gflops"]
        row["peak_share"] = 1.0
    record(row)
    assert verdict.ok, str(verdict)


def wanted(op: Op, given: tuple) -> Any:
    """The oracle's results in float64, found once for all backends: they are given the same."""
    if op.name not in truths:
        truths.clear()
        truths[op.name] = op.oracle(*each(given, lambda tensor: tensor.double()))
    return truths[op.name]


@pytest.mark.parametrize("backend", ["reference", *ops.BACKENDS])
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_op(benchmark, op: Op, backend, record, pytestconfig):
    device, quick = pytestconfig.getoption("--device"), pytestconfig.getoption("--quick")
    name = op.name.split()[0]
    known = set(op.backends or (row.backend for row in ops.backends() if row.op == name))
    if backend != "reference":
        if backend not in known:
            pytest.skip(f"{op.name} has no backend {backend}")
        reason = ops.can_run(backend, torch.device(device))
        if reason is not None:
            pytest.skip(reason)
    if backend == "triton" and device == "cpu" and os.environ.get("TRITON_INTERPRET"):
        pytest.skip("an interpreter's time says nothing")
    shape = (QUICK[0], op.shape[1], *QUICK[1:]) if quick else op.shape
    given = op.inputs(shape, torch.Generator().manual_seed(0))
    args = each(given, lambda tensor: tensor.to(device))

    def run() -> Any:
        return op.oracle(*args) if backend == "reference" else op.function(*args, backend=backend)

    def timed() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.group = f"{op.name}, {device}, float32, {'x'.join(map(str, shape))}"
    with products_in("strict"):  # libraries on a device would take TF32 for float32
        verdict = gate(run(), wanted(op, given), op.tolerance)
        if verdict.ok:
            benchmark(timed)
    row = complete(benchmark, op.name, backend, shape, op.flops(shape), verdict, device)
    benchmark.extra_info.update(row)
    record(row)
    assert verdict.ok, f"{op.name} on {backend}: {verdict}; nothing is timed"

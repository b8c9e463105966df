"""Kernels of a CUDA device against their floors: the part of the ops suite that a CPU has nothing for.

A row says how long an operation takes inside a captured iteration, its floor (floors.py has the formula; the peaks are
measured first, in the same run) and the share of it that is reached, for every backend and precision that has it.

Run by `aafast bench --suite ops --device cuda`, or `python -m pytest bench/device.py` with the options of conftest.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aafast import ops
from aafast.bench.device_table import DeviceOp, Program, Tensors, device_ops
from aafast.bench.floors import OPERANDS, PRECISIONS, STORED, Peaks, Work, products_in, seconds_in_turns
from aafast.bench.rows import Row, facts, quantiles
from aafast.bench.verify import Verdict
from aafast.reference.golden import vector_error

ROUNDS, QUICK_ROUNDS = 15, 2
SIDE, QUICK_SIDE = 8192, 64  # of the products whose rate is the peak
COPIED, QUICK_COPIED = 1 << 30, 1 << 16  # bytes of the copy whose rate is the bandwidth
# A product's rows are held against float64 like any other result: its operands' rounding, or float32's sums.
PRODUCT_TOLERANCE = {"fast": 2e-3, "tf32": 2e-3, "strict": 1e-5}
PRODUCT_TYPE = {"fast": torch.float16, "tf32": torch.float32, "strict": torch.float32}
METRIC = "largest relative error of a result (2-norm)"
peaks = Peaks()
medians: dict[tuple[str, str], float] = {}  # of plain torch, by operation and precision
_inputs: dict[str, Any] = {}  # of the last operation


def reason_against(backend: str, device: str) -> str | None:
    """Why a backend has no rows here, or None."""
    if device != "cuda":
        return "kernels of a CUDA device: --device cuda"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return None if backend == "eager" else ops.can_run(backend, torch.device("cuda"))


def largest_error(found: Tensors, want: Tensors) -> float:
    """The worst result's 2-norm of the difference over that of what is wanted; NaN where there is one."""
    errors = [vector_error([(mine.double().cpu(), true.double().cpu())]) for mine, true in
              zip(found, want, strict=True)]  # fmt: skip
    return max(errors, key=lambda error: (error != error, error))


def measured(program: Program, device: str, rounds: int) -> list[float]:
    """Seconds of each round; none where the difference of two runs is lost in their noise."""
    turns = seconds_in_turns(list(program.runs), device, rounds)
    seconds = [sum(share * each for share, each in zip(program.shares, turn, strict=True)) for turn in turns]
    return seconds if min(seconds) > 0 else []


def row_of(
    name: str, backend: str, precision: str, shape: tuple[int, ...], work: Work, seconds: list[float],
    verdict: Verdict, device: str, quick: bool,
) -> Row:  # fmt: skip
    """The row of what was timed, or of what a red gate or noise kept from being timed."""
    spread = quantiles(seconds) if seconds else dict.fromkeys(("median_s", "p20_s", "p80_s"))
    median = spread["median_s"]
    if median and backend == "eager":
        medians[name, precision] = median
    baseline = medians.get((name, precision)) if median and backend != "eager" else None
    rate = work.flops / median if median else None
    peak, floor = peaks.flops.get(precision), peaks.floor(work, precision)
    value = verdict.error if abs(verdict.error) < float("inf") else str(verdict.error)
    return {
        "suite": "ops", "task": None, "method": None, "op": name, "backend": backend, "precision": precision,
        "batch": shape[0], "shape": list(shape[1:]), "iterations": 1, **spread, "rounds": len(seconds),
        "peak_mb": None,
        "baseline": "eager" if baseline else None,
        "speedup": baseline / median if baseline else None,
        "gflops": rate / 1e9 if rate else None,
        "peak_share": rate / peak if rate and peak else None,
        "flops": work.flops, "bytes": work.bytes,
        "floor_s": floor.seconds if floor else None,
        "floor_share": floor.seconds / median if floor and median else None,
        "bound": floor.bound if floor else None,
        "peak_flops": peak, "bandwidth": peaks.bandwidth,
        "timing": "captured in a graph, L2 cache as the call before left it" if device == "cuda" else "wall clock",
        "quick": quick,
        "gate": {"metric": METRIC, "value": value, "tolerance": verdict.tolerance, "ok": verdict.ok},
        **facts(device),
    }  # fmt: skip


def measure(op: DeviceOp, backend: str, precision: str, device: str, quick: bool) -> Row:
    """Run one contestant of an operation, hold it against the oracle, time it where it is right."""
    shape = op.small if quick else op.shape
    if op.name not in _inputs:
        _inputs.clear()
        _inputs[op.name] = op.inputs(shape, torch.Generator().manual_seed(0)).to(device)
    seconds, refusal = [], None
    with torch.no_grad(), products_in(precision):
        program = op.program(_inputs[op.name], backend, precision)
        found = tuple(part.clone() for part in program.result())
        verdict = Verdict(largest_error(found, program.want()), op.tolerance[precision])
        if verdict.ok:
            try:
                seconds = measured(program, device, QUICK_ROUNDS if quick else ROUNDS)
            except RuntimeError as error:  # a capture that was refused: the others shall still have their rows
                refusal = " ".join(str(error).split())[:200]
    row = row_of(op.name, backend, precision, shape, op.work(shape, STORED[precision]), seconds, verdict, device, quick)
    return row if refusal is None else {**row, "refusal": refusal}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_product(precision, record, pytestconfig):
    """The peak of a precision: a large square product."""
    device, quick = pytestconfig.getoption("--device"), pytestconfig.getoption("--quick")
    skip_or_none(reason_against("eager", device))
    row = measure_product(precision, device, quick)
    record(row)
    assert row["gate"]["ok"], row["gate"]


def measure_product(precision: str, device: str, quick: bool) -> Row:
    """The row of a large product, whose rate becomes the peak of its precision."""
    side = QUICK_SIDE if quick else SIDE
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator, device=device).to(PRODUCT_TYPE[precision]) for _ in range(2))
    out = torch.empty_like(a)
    with products_in(precision):
        program = Program(lambda: (torch.mm(a, b, out=out)[:256],), lambda: (a[:256].double() @ b.double(),),
                          (lambda: torch.mm(a, b, out=out),))  # fmt: skip
        verdict = Verdict(largest_error(program.result(), program.want()), PRODUCT_TOLERANCE[precision])
        seconds = measured(program, device, QUICK_ROUNDS if quick else ROUNDS) if verdict.ok else []
    work = Work(2.0 * side**3, 3.0 * side**2 * out.itemsize)
    if seconds:
        peaks.flops[precision] = work.flops / quantiles(seconds)["median_s"]
    name = f"product, {OPERANDS[precision]}"
    return row_of(name, "eager", precision, (1, side, side), work, seconds, verdict, device, quick)


def test_copy(record, pytestconfig):
    """The bandwidth: a large copy."""
    device, quick = pytestconfig.getoption("--device"), pytestconfig.getoption("--quick")
    skip_or_none(reason_against("eager", device))
    row = measure_copy(device, quick)
    record(row)
    assert row["gate"]["ok"], row["gate"]


def measure_copy(device: str, quick: bool) -> Row:
    """The row of a large copy, whose rate becomes the bandwidth."""
    room = QUICK_COPIED
    if not quick:
        room = min(COPIED, torch.cuda.mem_get_info()[0] // 4) if device == "cuda" else COPIED
    here = torch.randn(room // 4, device=device)
    there = torch.full_like(here, torch.nan)
    program = Program(lambda: (there.copy_(here),), lambda: (here,), (lambda: there.copy_(here),))
    verdict = Verdict(largest_error(program.result(), program.want()), 0.0)
    seconds = measured(program, device, QUICK_ROUNDS if quick else ROUNDS) if verdict.ok else []
    work = Work(0.0, 2.0 * here.numel() * here.itemsize)
    if seconds:
        peaks.bandwidth = work.bytes / quantiles(seconds)["median_s"]
    return row_of("copy", "eager", "strict", (1, here.numel()), work, seconds, verdict, device, quick)


def contestants() -> list[Any]:
    """Every operation, precision and backend, plain torch first."""
    return [
        pytest.param(op, backend, precision, id=f"{op.name}-{precision}-{backend}")
        for op in device_ops() for precision in PRECISIONS for backend, has in op.backends.items() if precision in has
    ]  # fmt: skip


def skip_or_none(reason: str | None) -> None:
    """Skip the test where there is a reason."""
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("op, backend, precision", contestants())
def test_device_op(op: DeviceOp, backend, precision, record, pytestconfig):
    device, quick = pytestconfig.getoption("--device"), pytestconfig.getoption("--quick")
    reason = reason_against(backend, device)
    skip_or_none(reason if reason is None or device != "cuda" else f"{backend}: {reason}")
    row = measure(op, backend, precision, device, quick)
    record(row)
    assert row["gate"]["ok"], f"{op.name} on {backend}, {precision}: {row['gate']}; nothing is timed"
    assert "refusal" not in row, f"{op.name} on {backend}, {precision}: {row['refusal']}"

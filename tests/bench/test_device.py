"""The ops suite's rows of a CUDA device: floors, differences, gates, and every operation on kernels that a CPU runs."""

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aafast.bench import device
from aafast.bench.device_table import Program, device_ops
from aafast.bench.floors import PRECISIONS, Peaks, Work, products_in
from aafast.bench.rows import complaints, line, table
from aafast.bench.verify import Verdict
from aafast.ops import _native, _stack_cuda

OPS = {op.name: op for op in device_ops()}
LENGTHY = ("prox of deconv", "prox of defog")
EXACT = [name for name, op in OPS.items() if "strict" in op.backends.get("cuda", ()) and name not in LENGTHY]
OTHERS = [(precision, name) for precision in ("tf32", "fast") for name, op in OPS.items()
          if precision in op.backends.get("cuda", ())] + [("strict", name) for name in LENGTHY]  # fmt: skip
OTHERS.sort(key=lambda case: case[1] != "prox of deblur")  # a short one first
INTERPRETED = (
    ("tf32/layer, input gradient", "fast/GroupNorm and GELU", "strict/GroupNorm's gradient", "strict/seeds of a sum",
     "strict/seeds of haze", "strict/z_step, captured", "strict/anderson_mix, captured"),
    ("fast/layer", "fast/layer, weight gradient", "strict/layer, weight gradient", "strict/prox of deblur"),
)  # fmt: skip


@pytest.fixture
def known_peaks(monkeypatch):
    """Peaks of a slow device, and no baselines of other tests."""
    peaks = Peaks(dict.fromkeys(PRECISIONS, 1e9), 1e9)
    monkeypatch.setattr(device, "peaks", peaks)
    monkeypatch.setattr(device, "medians", {})
    return peaks


@pytest.fixture
def on_cuda_kernels(emulated, use_device, monkeypatch, known_peaks):
    """CPU tensors stand in for those of a device; backend "cuda" runs its kernels thread by thread."""
    use_device(emulated, 1)
    monkeypatch.setenv("EMULATED_CUDA_SMS", "3")
    monkeypatch.setattr(_native, "where", lambda tensor: (1, 0))
    _stack_cuda._native_stack.cache_clear()
    yield
    _stack_cuda._native_stack.cache_clear()


def test_a_floor_is_the_larger_of_products_and_memory():
    peaks = Peaks({"fast": 8e14}, 3e12)
    assert peaks.floor(Work(8e12, 3e9), "fast") == (0.01, "products")
    assert peaks.floor(Work(8e9, 3e9), "fast") == (0.001, "memory")
    assert peaks.floor(Work(0.0, 3e9), "strict") == (0.001, "memory")
    assert peaks.floor(Work(1.0, 3e9), "strict") is None  # a peak that was not measured
    assert Peaks({"fast": 1.0}).floor(Work(1.0, 1.0), "fast") is None


def test_the_work_of_a_layer_is_what_its_shape_says():
    shape = (32, 64, 128, 50)
    pixels, weights = 32 * 128 * 50, 9 * 64 * 64
    forward, gradient, weight = (OPS[f"layer{rest}"].work(shape, 2) for rest in ("", ", input gradient",
                                                                                 ", weight gradient"))
    assert forward == Work(2.0 * pixels * weights, 2 * 64 * pixels * 2 + 2 * weights)
    assert gradient == Work(2.0 * pixels * weights, 4 * 64 * pixels * 2 + 2 * weights)
    assert weight == Work(2.0 * pixels * weights, 3 * 64 * pixels * 2 + 4 * 32 * weights)
    prox = OPS["prox of deconv"]
    assert prox.shape == (32, 1, 128, 50)
    found = prox.work(prox.shape, 2)
    assert found.flops == 2.0 * pixels * 9 * (64 + 7 * 64 * 64 + 64)
    assert found.bytes == pixels * (8 * 2 * 64 * 2 + 2 * 4) + 2 * 9 * (64 + 7 * 64 * 64 + 64)


@pytest.mark.parametrize("name", EXACT)
def test_every_operation_is_right_on_the_cuda_kernels(on_cuda_kernels, name):
    check(device.measure(OPS[name], "cuda", "strict", "cpu", quick=True), "cuda")


@pytest.mark.parametrize("precision, name", OTHERS)
@pytest.mark.first_of_many
def test_every_stack_is_right_in_every_precision(on_cuda_kernels, precision, name):
    check(device.measure(OPS[name], "cuda", precision, "cpu", quick=True), "cuda")


@pytest.mark.parametrize("cases", INTERPRETED, ids=["short", "long"])
@pytest.mark.first_of_many
def test_operations_are_right_on_the_triton_kernels(cases):
    pytest.importorskip("triton")
    support = Path(__file__).resolve().parents[1] / "support"
    done = subprocess.run(
        [sys.executable, str(support / "interpreted_rows.py"), *cases], capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.rstrip().endswith("all ok"), done.stdout + done.stderr


@pytest.mark.parametrize("name", OPS)
def test_every_operation_is_right_in_plain_torch(known_peaks, name):
    op = OPS[name]
    rows = [device.measure(op, "eager", precision, "cpu", quick=True) for precision in op.backends.get("eager", ())]
    for row in rows:
        check(row, "eager")
        assert row["baseline"] is None and device.medians[name, row["precision"]] == row["median_s"]
    assert rows or op.name in ("fixed-point step", "anderson_mix, captured")


def check(row, backend):
    assert row["gate"]["ok"], row["gate"]
    assert complaints(row) == [] and "refusal" not in row
    assert row["backend"] == backend and row["median_s"] > 0 and row["rounds"] == device.QUICK_ROUNDS
    assert row["floor_s"] > 0 and math.isclose(row["floor_share"], row["floor_s"] / row["median_s"])
    assert row["op"] in table([row]) and row["op"] in line(row)


def test_a_wrong_operation_is_not_timed(known_peaks, monkeypatch):
    op = OPS["z-step and the prox's point"]
    monkeypatch.setattr(device, "largest_error", lambda found, want: 1e-3)
    row = device.measure(op, "eager", "strict", "cpu", quick=True)
    assert not row["gate"]["ok"] and row["median_s"] is None and row["floor_share"] is None and complaints(row) == []


def test_the_error_is_the_worst_and_nan_is_worse():
    one = torch.ones(3)
    assert device.largest_error((one, one), (one, 2 * one)) == pytest.approx(0.5)
    assert math.isnan(device.largest_error((one, one * torch.nan, one), (2 * one, one, one)))


def test_a_part_is_the_difference_of_runs_and_noise_leaves_no_time(known_peaks, monkeypatch):
    program = Program(lambda: (), lambda: (), (lambda: None, lambda: None), (0.5, -0.5))
    monkeypatch.setattr(device, "seconds_in_turns", lambda runs, where, rounds: [[5.0, 1.0], [6.0, 1.0]])
    assert device.measured(program, "cpu", 2) == [2.0, 2.5]
    monkeypatch.setattr(device, "seconds_in_turns", lambda runs, where, rounds: [[5.0, 1.0], [1.0, 1.0]])
    assert device.measured(program, "cpu", 2) == []
    row = device.row_of("x", "cuda", "fast", (1, 1), Work(1.0, 1.0), [], Verdict(0.0, 1.0), "cpu", True)
    assert row["median_s"] is None and row["floor_s"] == 1e-9 and complaints(row) == []


def test_a_refused_capture_leaves_a_row_that_says_so(known_peaks, monkeypatch):
    def refused(*_):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(device, "seconds_in_turns", refused)
    row = device.measure(OPS["seeds of a sum"], "eager", "strict", "cpu", quick=True)
    assert row["refusal"] == "operation not permitted when stream is capturing" and row["median_s"] is None
    assert complaints(row) == []


def test_peaks_are_measured_before_they_are_used(known_peaks):
    rows = [device.measure_product(precision, "cpu", quick=True) for precision in PRECISIONS]
    rows.append(device.measure_copy("cpu", quick=True))
    for row in rows:
        assert row["gate"]["ok"] and complaints(row) == []
    for row, precision in zip(rows, PRECISIONS, strict=False):
        assert known_peaks.flops[precision] == pytest.approx(row["gflops"] * 1e9)
    assert known_peaks.bandwidth == pytest.approx(rows[-1]["bytes"] / rows[-1]["median_s"])


def test_speed_is_over_plain_torch_of_the_same_precision(known_peaks):
    shape, work, green = (1, 1), Work(1.0, 1.0), Verdict(0.0, 1.0)
    device.row_of("x", "eager", "fast", shape, work, [4.0], green, "cpu", True)
    assert device.row_of("x", "cuda", "fast", shape, work, [2.0], green, "cpu", True)["speedup"] == 2.0
    assert device.row_of("x", "cuda", "strict", shape, work, [2.0], green, "cpu", True)["baseline"] is None


def test_libraries_take_tf32_for_that_precision_alone():
    libraries = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [library.allow_tf32 for library in libraries]
    for precision in PRECISIONS:
        with products_in(precision):
            assert [library.allow_tf32 for library in libraries] == [precision == "tf32"] * 2
    assert [library.allow_tf32 for library in libraries] == before


def test_the_reason_against_a_row_is_said(monkeypatch):
    assert "--device cuda" in device.reason_against("cuda", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.reason_against("triton", "cuda") == "torch sees no CUDA device"


class Graph:
    """A graph whose replays take a third of a millisecond by the events around them."""

    seconds = 1e-3 / 3

    def replay(self):
        Clock.now += 1e3 * self.seconds * self.calls


class Clock:
    now = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Clock.now

    def elapsed_time(self, end):
        return end.at - self.at


def test_a_graph_holds_a_millisecond_of_calls(monkeypatch):
    from aafast.bench import floors

    made = []

    def captured(run, calls):
        made.append(SimpleNamespace(calls=calls, seconds=Graph.seconds))
        made[-1].replay = lambda graph=made[-1]: Graph.replay(graph)
        return made[-1]

    monkeypatch.setattr(floors, "_captured", captured)
    monkeypatch.setattr(torch.cuda, "Event", Clock)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    turns = floors.seconds_in_turns([lambda: None] * 2, "cuda", 4)
    assert [graph.calls for graph in made] == [1, 3, 1, 3]
    assert len(turns) == 4 and all(each == pytest.approx(1e-3 / 3) for turn in turns for each in turn)

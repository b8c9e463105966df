"""Rows of a solve suite without running one."""

import sys
from pathlib import Path

import pytest

from tests.csrc.conftest import emulated, use_device  # noqa: F401 (fixtures)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = {"report": "", "fixed_point": "fixed-point.jsonl", "anderson": "anderson.jsonl"}


@pytest.fixture(autouse=True, scope="session")
def results_of_this_tree():
    """The documents and results beside these tests, also where the package is installed elsewhere, without them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, file in RESULTS.items():
            module = sys.modules.get(f"aafast.bench.{name}")
            if module is not None:
                patch.setattr(module, "RESULTS", ROOT / "bench" / "results" / file)
        if "aafast.bench.report" in sys.modules:
            patch.setattr("aafast.bench.report.ROOT", ROOT)
        yield


def solve_row(**change):
    """A green row of an engine, and what `change` says."""
    gate = {"metric": "m", "value": 1e-7, "tolerance": 1e-5, "ok": True}
    return {
        "suite": "solve", "task": "deconv", "method": "adaptive-lu", "backend": "cpp", "batch": 32,
        "shape": [1, 128, 50], "iterations": 5, "median_s": 2.0, "p20_s": 1.9, "p80_s": 2.1, "s_per_iteration": 0.4,
        "rounds": 5, "peak_mb": 100.0, "baseline": "reference", "speedup": 10.0, "plain_baseline": "compile",
        "speedup_over_plain": 4.0, "gate": gate, "gates": [gate], "engine": True, "quick": False, "absent": {},
        "device": "cpu", "device_name": "a processor", "threads": 2,
        "versions": {"aafast": "0", "torch": "2", "numpy": "2", "python": "3"}, "commit": "abc", **change,
    }  # fmt: skip


@pytest.fixture
def contest():
    """The rows of one case: reference, plain baselines, engine."""
    none = {"plain_baseline": None, "speedup_over_plain": None, "engine": False}
    return [
        solve_row(backend="reference", median_s=20.0, p20_s=19.0, p80_s=21.0, s_per_iteration=4.0, peak_mb=900.0,
                  baseline=None, speedup=None, gates=[], **none),
        solve_row(backend="eager-nhwc", median_s=10.0, p20_s=9.0, p80_s=11.0, s_per_iteration=2.0, speedup=2.0, **none),
        solve_row(backend="compile", median_s=8.0, p20_s=7.0, p80_s=9.0, s_per_iteration=1.6, speedup=2.5, **none),
        solve_row(),
    ]  # fmt: skip


@pytest.fixture
def row():
    """A function that makes a green row with changes."""
    return solve_row

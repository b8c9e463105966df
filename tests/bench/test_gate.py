"""The gate lets no speed-up through on a wrong result, and NaN is wrong."""

import importlib.util
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "bench" / "verify.py"


@pytest.fixture(scope="module")
def verify():
    spec = importlib.util.spec_from_file_location("bench_verify", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_right_result_has_a_speedup(verify):
    want = torch.tensor([1.0, -4.0])
    verdict = verify.gate(want + 1e-6, want, 1e-6)
    assert verdict.ok and 1e-8 < verdict.error < 1e-6
    assert verify.speedup(verdict, 3.0, 1.5) == "2.00x"


@pytest.mark.parametrize(
    "wrong", [torch.tensor([1.0, -4.1]), torch.tensor([torch.nan, -4.0])], ids=["far", "nan"]
)
def test_a_wrong_result_has_none(verify, wrong):
    want = torch.tensor([1.0, -4.0])
    verdict = verify.gate((want, wrong), (want, want), 1e-6)
    assert not verdict.ok
    assert "no speed-up" in verify.speedup(verdict, 3.0, 1.5) and "x" not in verify.speedup(verdict, 3.0, 1.5)


def test_nan_in_the_oracle_is_no_pass(verify):
    assert not verify.gate(torch.ones(2), torch.tensor([1.0, torch.nan]), 1e-6).ok

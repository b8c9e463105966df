"""The gate lets no speed-up through on a wrong result, and NaN is wrong."""

import pytest
import torch

from aafast.bench import verify


def test_a_right_result_passes():
    want = torch.tensor([1.0, -4.0])
    verdict = verify.gate(want + 1e-6, want, 1e-6)
    assert verdict.ok and 1e-8 < verdict.error < 1e-6


@pytest.mark.parametrize(
    "wrong", [torch.tensor([1.0, -4.1]), torch.tensor([torch.nan, -4.0])], ids=["far", "nan"]
)
def test_a_wrong_result_does_not(wrong):
    want = torch.tensor([1.0, -4.0])
    verdict = verify.gate((want, wrong), (want, want), 1e-6)
    assert not verdict.ok and "RED" in str(verdict)


def test_nan_in_the_oracle_is_no_pass():
    assert not verify.gate(torch.ones(2), torch.tensor([1.0, torch.nan]), 1e-6).ok

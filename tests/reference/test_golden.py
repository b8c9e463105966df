"""The reference reproduces every array of every golden file."""

import pytest
import torch

from aafast.reference import golden

TOLERANCE = 1e-9  # of golden.relative_error: 2-norm of the error over 2-norm of the expected values
# The gradient of these is zero but for rounding, of which AdamW makes a step: held as part of a vector alone.
ROUNDING = {
    "deconv_adaptive_lu": {
        "final.feature_layer.0.bias",  # BatchNorm takes the mean off again
        "final.feature_layer.0.weight",  # its column of the wavelet's peak, which both samples share
        "final.feature_layer.1.running_mean",  # the mean that the bias went into
        "final.feature_layer.3.bias",
    }
}


@pytest.mark.parametrize("name", golden.NAMES)
def test_reference_reproduces(name, shared):
    arrays = golden.load(shared / "golden" / f"{name}.npz")
    pairs = golden.reproduce(name, arrays)
    results = {key for key in golden.required(name) if not key.startswith(("net.", "netA.", "netR."))}
    given = {"y", "A0"} if not name.startswith("anderson") else {"M", "c", "m", "lam", "beta", "max_iter", "tol"}
    assert set(pairs) == results - given
    assert {key for key in arrays} == golden.required(name), "every array of the file is used"

    wrong = {key: error for key, error in golden.errors(pairs).items() if not error <= TOLERANCE}
    assert not wrong

    parts = {key: pair for key, pair in pairs.items() if key.startswith(golden.STATE)}
    for key, (computed, expected) in parts.items():
        if key not in ROUNDING.get(name, ()):
            assert (computed - expected).abs().max() <= TOLERANCE * expected.abs().max(), key


def test_errors_see_nan_and_shape():
    one = torch.ones(3, 4)
    assert golden.relative_error("xs", one, one) == 0
    assert golden.relative_error("xs", one[:2], one) == float("inf")
    spoilt = one.clone()
    spoilt[1, 2] = float("nan")
    assert not golden.relative_error("xs", spoilt, one) <= TOLERANCE
    assert not golden.errors({"final.a": (spoilt, one), "final.b": (one, one)})["final"] <= TOLERANCE


def test_iterates_are_held_one_by_one():
    expected = torch.tensor([[1e6, 0.0], [1.0, 0.0]])
    computed = expected + torch.tensor([[0.0, 0.0], [0.0, 0.1]])
    assert golden.relative_error("xs", computed, expected) == pytest.approx(0.1)
    assert golden.relative_error("vector", computed, expected) == pytest.approx(1e-7)

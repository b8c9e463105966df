"""Why the final state is compared as one vector: part of it is the rounding of whoever computed it."""

import pytest
import torch

from aafast.reference import golden
from aafast.reference.iteration import STEP
from aafast.reference.networks import DeconvMismatch


@pytest.mark.parametrize("layer", ["feature_layer.0.bias", "feature_layer.3.bias"])
def test_golden_biases_before_batch_norm_moved_by_rounding_alone(layer, shared):
    arrays = golden.load(shared / "golden" / "deconv_adaptive_lu.npz")
    exact = arrays[f"netA.{layer}"] * (1 - STEP * 0.01) ** 5  # zero gradient: five times the decay, nothing else
    rounding = (arrays[f"final.{layer}"] - exact).abs().max() / exact.abs().max()
    assert 1e-9 < rounding < 1e-6, "exact arithmetic itself would be this far from the stored numbers"


def test_gradient_of_a_bias_before_batch_norm_is_rounding():
    torch.manual_seed(0)
    network = DeconvMismatch(normalised=False).double().train()
    layers = network.feature_layer
    out = layers(torch.randn(2, 51, dtype=torch.float64))
    (out * torch.randn_like(out)).sum().backward()
    assert layers[0].bias.grad.abs().max() < 1e-10 * layers[1].bias.grad.abs().max()
    assert layers[3].bias.grad.abs().max() < 1e-10 * layers[4].bias.grad.abs().max()

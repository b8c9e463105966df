"""How near forward models are: hand values, padding, kinds."""

import numpy as np
import pytest
import torch

from aafast.errors import InputError
from aafast.evaluation.operators import distribution, nearness
from aafast.physics import GaussianBlur, Haze, WaveletConvolution, gaussian_kernel


def test_wavelets_are_correlated_whatever_their_scale_and_length():
    w = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0])
    true = WaveletConvolution(torch.stack([w, w, w]))
    found = WaveletConvolution(torch.stack([3 * w, -w, torch.tensor([1.0, 0, 0, 0, 0])]))
    assert nearness(found, true, 3) == pytest.approx([1.0, -1.0, 0.0])
    short = WaveletConvolution(torch.tensor([1.0, 2.0, 1.0]))
    assert nearness(short, true, 3) == pytest.approx([1.0] * 3) and nearness(true, short, 3) == pytest.approx([1.0] * 3)
    assert nearness(WaveletConvolution(torch.tensor([1.0, 2, 0, 0, 0])), true, 3)[0] == pytest.approx(2 / np.sqrt(30))


def test_kernels_are_correlated_pixel_by_pixel():
    a, b = gaussian_kernel(13, 1.0), gaussian_kernel(13, 4.0)
    expected = float((a * b).sum() / (a.norm() * b.norm()))
    assert nearness(GaussianBlur(a), GaussianBlur(b), 2) == pytest.approx([expected] * 2, rel=1e-6)
    assert nearness(GaussianBlur(b), GaussianBlur(b), 2) == pytest.approx([1.0] * 2)


def test_haze_differs_by_its_density():
    depth = torch.ones(2, 1, 8, 8)
    a, b = Haze(depth, torch.tensor([0.5, 2.0])), Haze(depth, 1.0)
    assert nearness(a, b, 2) == pytest.approx([0.5, 1.0])


def test_models_of_two_kinds_are_not_compared():
    with pytest.raises(InputError, match="forward models to compare"):
        nearness(GaussianBlur(gaussian_kernel(3, 1.0)), WaveletConvolution(torch.ones(3)), 1)


def test_a_distribution_has_its_percentiles():
    found = distribution(np.arange(101.0))
    assert found == {"mean": 50.0, "p10": 10.0, "p50": 50.0, "p90": 90.0}

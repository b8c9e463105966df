"""Families of forward models: zero is the nominal model, the numbers mean what they say, the evidence shows it."""

import math

import pytest
import torch

from aafast.data.wavelets import WaveletSpec
from aafast.errors import InputError
from aafast.physics import GaussianBlur, Haze, WaveletConvolution, gaussian_kernel
from aafast.physics.deformations import (
    HazeDeformation,
    WaveletDeformation,
    WidthDeformation,
    gaussian_variance,
)
from aafast.tasks import draw_pairs


def wavelets(*specs, taps=51):
    return torch.stack([torch.from_numpy(spec.sample(taps)) for spec in specs])


def blur(*variances, size=13):
    return GaussianBlur(torch.stack([gaussian_kernel(size, v, torch.float64)[None] for v in variances]))


def haze(beta=1.3, airlight=0.8):
    depth = 0.2 + torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Haze(depth, beta, airlight)


CASES = {
    "wavelet": (
        WaveletDeformation(1),
        WaveletConvolution(wavelets(WaveletSpec("ricker", 0.1), WaveletSpec("ormsby", 0.12, 0.7))),
    ),
    "width": (WidthDeformation(3), blur(0.7, 4.0)),
    "haze": (HazeDeformation(3), haze()),
}


@pytest.mark.parametrize("name", CASES)
def test_zero_is_the_nominal_model(name):
    family, nominal = CASES[name]
    x = torch.randn(2, family.channels, 12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    same = family.deform(nominal, family.start(nominal, 2))
    torch.testing.assert_close(same.A(x), nominal.A(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_image_is_differentiable_in_the_numbers(name):
    family, nominal = CASES[name]
    x = torch.randn(2, family.channels, 12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    numbers = (0.1 * torch.randn(2, family.size, generator=torch.Generator().manual_seed(2))).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda n: family.deform(nominal, n).A(x), numbers)


@pytest.mark.parametrize("name", CASES)
def test_evidence_has_the_stated_sizes_and_says_something(name):
    family, nominal = CASES[name]
    y = torch.randn(2, family.channels, 12, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    images, numbers = family.evidence(nominal, y)
    assert images.shape == (2, family.images, 12, 16) and numbers.shape == (2, family.numbers)
    other = family.deform(nominal, torch.full((2, family.size), 0.3, dtype=torch.float64))
    moved = family.evidence(other, y)
    assert (moved[0] - images).abs().max() > 1e-3 and (moved[1] - numbers).abs().max() > 1e-3


@pytest.mark.parametrize(
    "change, spec",
    [
        ((math.log(1.25), 0.0, 0.0), WaveletSpec("ricker", 0.1)),
        ((0.0, 0.6, 0.0), WaveletSpec("ricker", 0.08, 0.6)),
        ((0.0, 0.0, 2 * math.log(1.2)), WaveletSpec("ricker", 0.08, 0.0, 1.2)),
        ((math.log(1.25), -0.4, 2 * math.log(0.9)), WaveletSpec("ricker", 0.1, -0.4, 0.9)),
    ],
)
def test_a_ricker_becomes_the_ricker_of_those_parameters(change, spec):
    nominal = WaveletConvolution(wavelets(WaveletSpec("ricker", 0.08)))
    found = WaveletDeformation(1).deform(nominal, torch.tensor([change], dtype=torch.float64)).wavelet
    assert torch.nn.functional.cosine_similarity(found, wavelets(spec)) > 0.9995
    assert abs(float(found.norm()) - 1) < 1e-9


def test_a_gaussian_becomes_the_gaussian_of_that_width():
    found = WidthDeformation(3).deform(blur(4.0), torch.tensor([[math.log(0.5)]], dtype=torch.float64))
    torch.testing.assert_close(found.kernel[0, 0], gaussian_kernel(13, 1.0, torch.float64), rtol=0, atol=1e-12)


def test_haze_becomes_that_haze():
    family, nominal = HazeDeformation(3), haze(1.3, 0.8)
    x = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = family.deform(nominal, torch.tensor([[math.log(2.0), 0.1, 0.0, -0.1]], dtype=torch.float64).expand(2, 4))
    wanted = Haze(nominal.depth, 2.6, torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64))
    torch.testing.assert_close(found.A(x), wanted.A(x), rtol=0, atol=1e-12)


def test_only_a_gaussian_has_a_width():
    variances = torch.tensor([0.6, 2.0, 9.0], dtype=torch.float64)
    torch.testing.assert_close(gaussian_variance(blur(*variances.tolist()).kernel), variances, rtol=1e-9, atol=0)
    disc = torch.zeros(13, 13, dtype=torch.float64)
    disc[4:9, 4:9] = 0.04
    assert gaussian_variance(disc[None, None]) is None and not WidthDeformation(3).fits(GaussianBlur(disc))
    with pytest.raises(InputError, match="blur kernel to widen"):
        WidthDeformation(3).deform(GaussianBlur(disc), torch.zeros(1, 1))


@pytest.mark.parametrize("task, name", [("deconv", "wavelet"), ("deblur", "width"), ("defog", "haze")])
def test_the_true_model_of_a_task_lies_in_its_family(task, name):
    """Some member is much nearer to the true model than the nominal one: the numbers that a calibration looks for."""
    pairs = draw_pairs(task, 3, shape=(48, 32), seed=5, mismatch="out")
    family = CASES[name][0]
    numbers = family.start(pairs.nominal, 3).requires_grad_()
    optimizer = torch.optim.LBFGS([numbers], max_iter=60, line_search_fn="strong_wolfe")
    clean = pairs.true.A(pairs.x)

    def errors(model):
        return (model.A(pairs.x) - clean).flatten(1).square().sum(1)

    def closure():
        optimizer.zero_grad()
        loss = (errors(family.deform(pairs.nominal, numbers)) / errors(pairs.nominal)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    left = (errors(family.deform(pairs.nominal, numbers)) / errors(pairs.nominal)).detach()
    assert (left < 0.1).all(), left

"""Networks: shapes, spectral norms against dense algebra, per-sample parameters against a loop."""

import pytest
import torch

from aafast.nets import ProximalNetwork, build_residual
from aafast.nets import spectral_norm as sn
from aafast.physics import GaussianBlur, Haze, WaveletConvolution
from aafast.tasks import build, load, save, settings


def dense_norm(weight):
    side = 40
    probe = torch.eye(weight.shape[1] * side * side, dtype=weight.dtype).view(-1, weight.shape[1], side, side)
    rows = torch.cat([torch.nn.functional.conv2d(p, weight, padding=1).flatten(1) for p in probe.split(400)])
    return torch.linalg.matrix_norm(rows.mT @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.mT, 2).sqrt()


def test_operator_norm_is_the_dense_one():
    torch.manual_seed(0)
    weight = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    sigma, u = sn.conv_operator_norm(weight, sn.start_vector(2).double())
    assert not abs(sigma / dense_norm(weight) - 1) > 1e-4
    v = torch.nn.functional.conv_transpose2d(u, weight, padding=1)
    assert not abs(v.norm() / sigma - 1) > 1e-4


def test_spectral_norm_follows_the_weights_and_is_frozen_between():
    layer = sn.NormalisedConv2d(3, 4).double()
    layer.refresh()
    before = layer.effective_weight().detach().clone()
    sigma, _ = sn.conv_operator_norm(before, layer.u)
    assert not abs(sigma - sn.CONTRACTION) > 1e-4
    with torch.no_grad():
        layer.weight.mul_(5)
    layer.refresh()
    torch.testing.assert_close(layer.effective_weight(), before, rtol=1e-3, atol=0)


@pytest.mark.parametrize("task", ["deblur", "defog"])
def test_norms_are_found_once_and_saved_with_the_weights(task, tmp_path, monkeypatch):
    model = build(task, "adaptive-deq", channels=8, residual_channels=8, depth=3, seed=1)
    save(model, tmp_path)
    monkeypatch.setattr("aafast.nets.spectral_norm.conv_operator_norm", pytest.fail)
    monkeypatch.setattr("aafast.nets.residual.conv_operator_norm", pytest.fail)
    again = load(tmp_path)
    with torch.no_grad():
        sn.refresh(again)
        for name, value in again.residual.start(1).items():
            assert torch.equal(value, model.residual.start(1)[name])
        assert torch.equal(again.prox.R[0].effective_weight(), model.prox.R[0].effective_weight())


def test_spectral_norm_follows_weights_put_there_as_new_memory():
    layer = sn.NormalisedConv2d(3, 4).double()
    layer.refresh()
    before = layer.sigma.clone()
    vector = torch.nn.utils.parameters_to_vector([layer.weight]).detach()
    torch.nn.utils.vector_to_parameters(5 * vector, [layer.weight])
    layer.refresh()
    torch.testing.assert_close(layer.sigma, 5 * before, rtol=1e-4, atol=0)


def test_norms_that_a_state_does_not_bring_are_found_anew():
    sizes = {"channels": 8, "residual_channels": 8, "depth": 3}
    model, other = (build("deblur", "adaptive-deq", seed=seed, **sizes) for seed in (1, 2))
    with torch.no_grad():
        sn.refresh(model)
        sn.refresh(other)
        weights = {name: value for name, value in model.state_dict().items() if not name.endswith("sigma")}
        other.load_state_dict(weights, strict=False)
        sn.refresh(other)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-4, atol=0)


def test_norms_move_with_the_weights(monkeypatch):
    model = build("deblur", "adaptive-deq", channels=8, residual_channels=8, depth=3)
    sn.refresh(model)
    monkeypatch.setattr("aafast.nets.spectral_norm.conv_operator_norm", pytest.fail)
    monkeypatch.setattr("aafast.nets.residual.conv_operator_norm", pytest.fail)
    sn.refresh(model.double())
    assert model.prox.R[0].sigma.dtype == torch.float64


def test_training_after_loading_finds_the_singular_vector_again(tmp_path):
    save(build("deblur", "adaptive-deq", channels=8, residual_channels=8, depth=3, seed=1), tmp_path)
    layer = load(tmp_path).prox.R[2]
    layer.refresh()
    with torch.no_grad():
        frozen = layer.effective_weight()
    torch.testing.assert_close(layer.effective_weight().detach(), frozen, rtol=1e-4, atol=0)


def test_spectral_norm_gradient_is_that_of_the_scaled_weight():
    layer = sn.NormalisedConv2d(1, 2).double()
    layer.refresh()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)

    def loss(weight):
        sigma, _ = sn.conv_operator_norm(weight, layer.u)
        return torch.nn.functional.conv2d(x, weight * (sn.CONTRACTION / sigma), padding=1).square().sum()

    layer(x).square().sum().backward()
    step, direction = 1e-4, torch.randn_like(layer.weight)
    numeric = (loss(layer.weight + step * direction) - loss(layer.weight - step * direction)) / (2 * step)
    assert not abs(numeric / (layer.weight.grad * direction).sum() - 1) > 2e-2


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (40, 17)])
@pytest.mark.parametrize("norm", ["group", "none"])
def test_prox_takes_any_size(size, norm):
    config = settings("deconv", "adaptive-lu", norm=norm, channels=8, depth=4)
    assert ProximalNetwork(config)(torch.randn(2, 2, *size)).shape == (2, 1, *size)


def test_prox_is_the_papers_stack():
    config = settings("deblur", "adaptive-lu")
    kinds = [type(layer).__name__ for layer in ProximalNetwork(config).R]
    assert kinds == ["Conv2d", "GELU", *["Conv2d", "GroupNorm", "GELU"] * 3, "Conv2d"]


def test_without_groupnorm_a_pixel_depends_on_its_neighbourhood_alone():
    config = settings("deconv", "adaptive-lu", norm="none", channels=8, depth=4)
    net, x = ProximalNetwork(config).double(), torch.randn(1, 2, 40, 30, dtype=torch.float64)
    torch.testing.assert_close(net(x[:, :, 10:30])[:, :, 4:-4], net(x)[:, :, 14:26], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("task", ["deconv", "deblur", "defog"])
def test_mismatch_networks_give_each_sample_its_own_answer(task):
    torch.manual_seed(0)
    A0, z = {
        "deconv": (WaveletConvolution(torch.randn(2, 51)), torch.randn(2, 1, 20, 12)),
        "deblur": (GaussianBlur(), torch.rand(2, 3, 11, 9)),
        "defog": (Haze(torch.rand(2, 1, 10, 8)), torch.rand(2, 3, 10, 8)),
    }[task]
    net = build_residual(settings(task, "adaptive-lu")).double()
    A0, z = A0.to(dtype=torch.float64), z.double()
    theta = {name: value + 0.1 * torch.randn_like(value) for name, value in net.start(2).items()}
    y_hat, nominal = net(theta, z, A0)
    assert y_hat.shape == nominal.shape == z.shape
    for i in range(2):
        alone, _ = net({name: value[i : i + 1] for name, value in theta.items()}, z[i : i + 1], A0.select(i))
        torch.testing.assert_close(alone[0], y_hat[i], rtol=1e-10, atol=1e-12)


def test_wavelet_estimate_is_nominal_plus_correction_for_every_length():
    net = build_residual(settings("deconv", "adaptive-lu", taps=11))
    for taps in (7, 11, 15):
        nominal = torch.randn(1, taps)
        theta = net.start(1)
        theta["dw"] = torch.randn(1, 11)
        z = torch.randn(1, 1, 30, 8)
        estimate = WaveletConvolution(net.wavelet(theta, WaveletConvolution(nominal)))
        without = {**theta, "conv3_weight": torch.zeros_like(theta["conv3_weight"])}
        y_hat, _ = net(without, z, WaveletConvolution(nominal))
        torch.testing.assert_close(estimate.A(z), y_hat, rtol=1e-4, atol=1e-5)

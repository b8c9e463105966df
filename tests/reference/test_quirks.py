"""What the authors' code does and a reader would not expect, each shown by itself."""

import pytest
import torch
import torch.nn.functional as F

from aafast.reference import anderson, build, ops, picard, problem
from aafast.reference.build import ricker, toeplitz
from aafast.reference.iteration import STEP, Adaptation
from aafast.reference.networks import DeblurMismatch, DeconvMismatch
from aafast.reference.physics import blur
from aafast.reference.robust_lu import deblur_gradient, defog_gradient
from aafast.reference.spectral_norm import LIPSCHITZ, PATCH, SpectralConv2d

DOUBLE = {"dtype": torch.float64}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def deblur():
    model = build("deblur", "adaptive_lu", **DOUBLE)
    y, A0 = problem("deblur", batch=2, **DOUBLE)
    return model, y[..., :20, :16].contiguous(), A0


def test_z_step_is_a_soft_sign(deblur):
    model, y, A0 = deblur
    x = y + 0.1 * torch.randn_like(y)
    gradient = model.adaptation.z_gradient(x, y, y, A0)
    z, _ = model.adaptation.z_step(x, y, y, A0)
    torch.testing.assert_close(z, ops.z_step(y, gradient, STEP, 0.01, 1e-8), rtol=0, atol=1e-15)
    assert gradient.abs().max() > 0


def test_z_stays_within_a_step_per_iteration(deblur):
    model, y, A0 = deblur
    with torch.no_grad():
        zs = model.run(y, A0).zs
    bound = [k * STEP * (1 + 0.01 * y.abs().max()) for k in range(1, 6)]
    assert all((z - y).abs().max() <= limit for z, limit in zip(zs, bound, strict=True))
    assert (zs[-1] - y).abs().max() > 4 * STEP


def test_z_step_depends_on_the_size_of_the_batch():
    # The losses are means over the batch: twice the samples, half the gradient, against a fixed eps.
    model = build("defog", "adaptive_lu", **DOUBLE)
    y, A0 = problem("defog", batch=1, **DOUBLE)
    y, A0 = y[..., :16, :16], A0[..., :16, :16]
    one = model.adaptation.z_gradient(y, y, y, A0)
    two = model.adaptation.z_gradient(*(t.repeat(2, 1, 1, 1) for t in (y, y, y, A0)))
    torch.testing.assert_close(two[:1], one / 2)


def test_z_step_fills_gradients_of_theta_that_the_theta_step_drops(deblur):
    model, y, A0 = deblur
    first, second = (Adaptation(DeblurMismatch(False).double(), 0.01, 0.1) for _ in range(2))
    second.mismatch.load_state_dict(first.mismatch.state_dict())
    first.z_step(y, y, y, A0)
    assert all(p.grad is not None for p in first.mismatch.parameters())
    for adaptation in (first, second):
        adaptation.theta_step(y, y, A0)
    for mine, other in zip(first.mismatch.parameters(), second.mismatch.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_theta_outlives_a_run(deblur):
    model, y, A0 = deblur
    with torch.no_grad():
        first, second = (model.run(y, A0) for _ in range(2))
    assert second.loss_theta[0] < first.loss_theta[0]
    assert not torch.equal(first.xs[-1], second.xs[-1])


def test_training_gradient_runs_through_the_proximal_network_alone(deblur):
    model, y, A0 = deblur
    run = model.run(y, A0, iterations=2)
    model.mismatch.zero_grad()
    run.xs[-1].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.prox.parameters())
    assert all(p.grad is None for p in model.mismatch.parameters())
    assert not any(z.requires_grad for z in run.zs)


def test_bracket_of_deblur_is_misplaced():
    y, A0 = problem("deblur", batch=1, **DOUBLE)
    x, step = torch.randn_like(y), torch.tensor(0.3, **DOUBLE)
    got = deblur_gradient(x, y, A0, step)
    meant = x - step * (blur(blur(x, A0), A0) - blur(y, A0))
    torch.testing.assert_close(got - meant, -(1 + step) * blur(y, A0))
    assert (got - meant).abs().max() > 0.1


def test_robust_defog_never_looks_at_the_depth():
    x, y = torch.randn(2, 1, 3, 8, 8)
    step = torch.tensor(0.4)
    assert torch.equal(defog_gradient(x, y, torch.zeros(1), step), x - step * (x - y))


def test_wavelet_features_miss_five_samples():
    wavelet = torch.arange(1.0, 52.0)
    column = toeplitz(wavelet, 128)[:51, 20]
    assert torch.equal(column, F.pad(wavelet[5:], (0, 5)))


def test_batch_norm_is_blind_to_a_wavelet_that_all_samples_share():
    network = DeconvMismatch(normalised=False).double().train()
    features = network.feature_layer(ricker(0.1, 51).double().repeat(3, 1))
    assert features.abs().max() < 1e-9
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network.feature_layer(torch.randn(1, 51, dtype=torch.float64))


def test_batch_norm_uses_running_statistics_in_the_z_step():
    model = build("deconv", "adaptive_lu", **DOUBLE)
    y, A0 = problem("deconv", batch=2, **DOUBLE)
    counter = model.mismatch.feature_layer[1].num_batches_tracked
    model.adaptation.z_step(y, y, y, A0)
    assert counter == 0
    model.adaptation.theta_step(y, y, A0)
    assert counter == 1


@pytest.fixture
def layer():
    return SpectralConv2d(5, 7).double()


def test_spectral_norm_converges_to_the_stated_one(layer):
    for _ in range(400):
        layer.normalise()
    weight = layer.weight.detach()
    image = torch.randn(1, 5, PATCH, PATCH, **DOUBLE)
    for _ in range(400):
        image = F.conv_transpose2d(F.conv2d(image / image.norm(), weight, padding=1), weight, padding=1)
    assert image.norm().sqrt().item() == pytest.approx(LIPSCHITZ, rel=2e-3)


def test_first_sigma_is_smaller_than_with_a_unit_vector(layer):
    kernel, u = layer.weight_orig.detach(), layer.weight_u
    v = F.conv_transpose2d(u, kernel, padding=1)
    unit = F.conv2d(v / v.norm(), kernel, padding=1).norm()
    layer.normalise()
    ratio = (layer.weight_orig / layer.weight)[0, 0, 0, 0] * LIPSCHITZ / unit
    assert ratio.item() == pytest.approx(118 / 120, abs=2e-3)  # of white noise the border cuts 1 - (118/120)^2


def test_gradient_passes_through_sigma(layer):
    layer.normalise()
    (layer.weight * torch.randn_like(layer.weight)).sum().backward()
    grad = layer.weight_orig.grad
    along = (grad * layer.weight_orig).sum() / (grad.norm() * layer.weight_orig.norm())
    assert along.abs() < 1e-12, "sigma grows with the kernel, so the weight does not"


def test_eval_mode_applies_an_old_weight_and_cuts_it_off(layer):
    x = torch.randn(1, 5, 8, 8, **DOUBLE)
    layer.train()
    before = layer(x).detach()
    with torch.no_grad():
        layer.weight_orig.mul_(-1)
    layer.eval()
    out = layer(x)
    assert torch.equal(out, before)
    out.sum().backward()
    assert layer.weight_orig.grad is None
    assert layer.weight.grad is not None


def test_equilibrium_model_calls_are_forced_and_counted():
    for task, calls in (("deblur", 4), ("defog", 5)):
        model = build(task, "adaptive_deq")
        y, A0 = problem(task, batch=1)
        y = y[..., :16, :16].contiguous()
        A0 = A0 if task == "deblur" else A0[..., :16, :16].contiguous()
        solve = model.run(y, A0, max_iter=4, tol=0)
        assert solve.calls == calls
        assert len(solve.residuals) == (2 if task == "deblur" else 4)
        assert solve.x_in == [] and not solve.x.requires_grad


def test_anderson_returns_the_last_mix_not_its_image():
    seen = []

    def f(v):
        seen.append(v.clone())
        return 0.5 * v + 1

    x, residuals = anderson(f, torch.zeros(2, 1, 4, 4, **DOUBLE), tol=1e-3)
    assert torch.equal(x, seen[-1])
    assert residuals[-1] < 1e-3 and len(seen) == len(residuals) + 2


def test_anderson_agrees_with_the_oracle_of_its_mix():
    M = 0.15 * torch.randn(2, 6, 6, **DOUBLE)
    seen = []

    def f(v):
        seen.append(v.flatten(1).clone())
        return (torch.einsum("bij,bj->bi", M, v.flatten(1)) + 1).view_as(v)

    anderson(f, torch.zeros(2, 1, 2, 3, **DOUBLE), m=3, lam=1e-4, beta=0.8, max_iter=9, tol=0)
    X, F_ = (torch.zeros(2, 3, 6, **DOUBLE) for _ in range(2))
    gram = torch.zeros(2, 3, 3, **DOUBLE)
    for k, point in enumerate(seen[:-1]):
        X[:, k % 3], F_[:, k % 3] = point, torch.einsum("bij,bj->bi", M, point) + 1
        x, gram, alpha, norms = ops.anderson_mix(X, F_, gram, k % 3, min(k + 1, 3), 1e-4, 0.8, False)
        torch.testing.assert_close(alpha.sum(1), torch.ones(2, **DOUBLE))
        torch.testing.assert_close(norms[:, 0], (F_ - X)[:, k % 3].square().sum(1))
        if k >= 1:
            torch.testing.assert_close(x, seen[k + 1])


def test_plain_iteration_returns_the_last_image():
    x, residuals = picard(lambda v: 0.5 * v + 1, torch.zeros(1, 1, 2, 2), max_iter=30, tol=1e-3)
    torch.testing.assert_close(x, torch.full_like(x, 2.0), rtol=2e-3, atol=0)
    assert residuals[-1] < 1e-3 <= residuals[-2]


def test_oracle_of_the_mix_leaves_its_arguments_alone():
    X, F_ = torch.randn(2, 2, 3, 8, **DOUBLE)
    gram = torch.full((2, 3, 3), float("nan"), **DOUBLE)
    kept = [t.clone() for t in (X, F_)]
    _, fresh, _, _ = ops.anderson_mix(X, F_, gram, 0, 1, 1e-3, 1.0, True)
    assert torch.isnan(gram).all() and torch.equal(X, kept[0]) and torch.equal(F_, kept[1])
    assert torch.isfinite(fresh[:, 0, 0]).all()


@pytest.mark.parametrize("task", ["deblur", "deconv", "defog"])
def test_models_build_at_the_reference_sizes(task):
    y, A0 = problem(task, batch=2)
    assert y.dtype == torch.float32 and torch.isfinite(y).all()
    state = torch.random.get_rng_state()
    first, second = (build(task, "robust_lu", seed=3) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.prox[2].weight, second.prox[2].weight)
    expected = (2 / (64 * 9)) ** 0.5 / 10
    assert first.prox[2].weight.std().item() == pytest.approx(expected, rel=0.02)
    with torch.no_grad():
        xs = first.run(y, A0, iterations=1)
    assert xs[0].shape == y.shape and torch.isfinite(xs[0]).all()

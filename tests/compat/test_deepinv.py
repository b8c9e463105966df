"""deepinv with our models and our physics, and our models with its physics."""

import importlib.util

import pytest
import torch
from torch.utils.data import DataLoader

from aafast import GaussianBlur, Haze, WaveletConvolution, build, reconstruct
from aafast.bench import libraries
from aafast.compat import deepinv as ours
from aafast.config import InnerSolver
from aafast.data import seismic_pairs
from aafast.errors import InputError, MissingDependency

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("deepinv") is None, reason="deepinv is not installed: pip install aafast[deepinv]"
)


@pytest.fixture(scope="module")
def dinv():
    return libraries.deepinv()


@pytest.fixture(scope="module")
def pairs():
    """Sections, and data made with another wavelet than the nominal one."""
    return seismic_pairs(4, (24, 12), 3, "in", (20.0, 20.0))


def loader(batch_size, **images):
    """What deepinv calls a dataset: a dictionary per sample."""
    samples = [dict(zip(images, rows, strict=True)) for rows in zip(*images.values(), strict=True)]
    return DataLoader(samples, batch_size=batch_size)


QUIET = {"verbose": False, "show_progress_bar": False, "device": "cpu", "non_blocking_transfers": False}


def small(method="adaptive-lu", task="deconv", **settings):
    return build(task, method, channels=4, depth=3, groups=2, residual_channels=4, iterations=2, **settings)


def images(batch=2, channels=1, size=(16, 12), seed=0, dtype=torch.float64):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_a_model_is_a_reconstructor_that_is_told_the_nominal_physics_alone(dinv, pairs):
    model, nominal = small("adaptive-deq"), WaveletConvolution(pairs.w_nominal)
    truth = ours.physics(WaveletConvolution(pairs.w_true))
    told = ours.reconstructor(model, nominal)
    assert isinstance(told, dinv.models.Reconstructor)
    with torch.no_grad():
        found = told(pairs.y, truth)
        assert torch.equal(found, model(pairs.y, nominal).x)
        all_known = ours.reconstructor(model)(pairs.y, truth)
        assert torch.equal(all_known, model(pairs.y, WaveletConvolution(pairs.w_true)).x)
        assert not torch.equal(all_known, found)
        by_function = ours.reconstructor(model, lambda physics: WaveletConvolution(0.5 * physics.A0.wavelet))
        assert torch.equal(by_function(pairs.y, truth), model(pairs.y, WaveletConvolution(0.5 * pairs.w_true)).x)
        x, metrics = told(pairs.y, truth, x_gt=pairs.x, compute_metrics=True)
        solution = told.solve(pairs.y)
    assert torch.equal(x, found) and [len(curve) for curve in metrics["residual"]] == solution.iterations.tolist()
    assert set(told.state_dict()) == {f"model.{name}" for name in model.state_dict()}
    with pytest.raises(InputError, match="physics"):
        ours.reconstructor(model)(pairs.y)


def test_deepinvs_test_scores_it(dinv, pairs):
    model, nominal = small("robust-lu"), WaveletConvolution(pairs.w_nominal)
    truth = ours.physics(WaveletConvolution(pairs.w_true))
    data, metric = loader(4, x=pairs.x, y=pairs.y), dinv.metric.MSE()
    results = dinv.test(ours.reconstructor(model, nominal), data, truth, metrics=metric, **QUIET)
    with torch.no_grad():
        wanted = (model(pairs.y, nominal).x - pairs.x).square().mean()
        other = (model(pairs.y, truth.A0).x - pairs.x).square().mean()
    assert results["MSE"] == pytest.approx(wanted.item(), rel=1e-5)
    assert results["MSE"] != pytest.approx(other.item(), rel=1e-3)
    linear = (truth.A_adjoint(pairs.y) - pairs.x).square().mean()  # deepinv's own comparison uses the truth
    assert results["MSE no learning"] == pytest.approx(linear.item(), rel=1e-5)


@pytest.mark.parametrize("method", ["direct", "robust-lu", "adaptive-lu", "adaptive-deq"])
def test_deepinvs_trainer_trains_it(dinv, pairs, method):
    model, nominal = small(method), WaveletConvolution(pairs.w_nominal[:1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrapped = ours.reconstructor(model, nominal)
    data = loader(2, x=pairs.x, y=pairs.y)
    trainer = dinv.Trainer(
        model=wrapped,
        physics=ours.physics(WaveletConvolution(pairs.w_nominal[:1])),
        optimizer=torch.optim.Adam((p for p in wrapped.parameters() if p.requires_grad), lr=3e-3),
        losses=dinv.loss.SupLoss(),
        train_dataloader=data,
        eval_dataloader=data,
        metrics=dinv.metric.MSE(),
        epochs=5,
        save_path=None,
        **QUIET,
    )
    trainer.train()
    losses = trainer.loss_history["SupLoss"]
    assert len(losses) == 5 and losses[-1] < losses[0]
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert any("prox" in name for name in moved) and not any("start_values" in name for name in moved)


def test_a_physics_generator_changes_the_truth_and_not_the_nominal_model(dinv, pairs):
    physics = ours.physics(WaveletConvolution(pairs.w_nominal[:1]), noise_model=dinv.physics.GaussianNoise(0.0))
    nominal = WaveletConvolution(pairs.w_nominal[:1])
    drawn, told = [], []

    class Wavelets(dinv.physics.generator.PhysicsGenerator):
        def step(self, batch_size=1, seed=None, **kwargs):
            drawn.append(pairs.w_true[len(drawn) : len(drawn) + 1].expand(batch_size, -1))
            return {"wavelet": drawn[-1], "sigma": torch.zeros(batch_size)}

    model = small("direct")
    model.register_forward_pre_hook(lambda module, arguments: told.append(arguments))
    dinv.test(
        ours.reconstructor(model, nominal),
        loader(2, x=pairs.x),
        physics,
        metrics=dinv.metric.MSE(),
        online_measurements=True,
        physics_generator=Wavelets(),
        compare_no_learning=False,
        **QUIET,
    )
    assert len(drawn) == len(told) == 2
    for (y, A0), wavelet, x in zip(told, drawn, pairs.x.split(2), strict=True):
        torch.testing.assert_close(y, WaveletConvolution(wavelet).A(x))
        assert torch.equal(A0.wavelet, nominal.wavelet)
    assert torch.equal(physics.A0.wavelet, drawn[-1])


def test_the_nominal_model_stays_when_the_physics_it_came_from_changes(dinv):
    physics = dinv.physics.Blur(filter=torch.full((1, 1, 3, 3), 1 / 9), padding="circular")
    model, y = small("robust-lu", task="deblur"), images(2, 3, dtype=torch.float32)
    kept, told = ours.reconstructor(model, physics), ours.reconstructor(model)
    with torch.no_grad():
        before = kept(y, physics)
        assert torch.equal(told(y, physics), before)
        physics.update(filter=torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(kept(y, physics), before)
        assert not torch.equal(told(y, physics), before)


def physics_of(dinv, name, batch):
    filters = torch.rand(batch, 1, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 25
    masks = (torch.rand(batch, 3, 16, 12, generator=torch.Generator().manual_seed(2)) > 0.3).double()
    if name == "Blur":
        return dinv.physics.Blur(filter=filters, padding="circular")
    if name == "BlurFFT":
        return dinv.physics.BlurFFT(img_size=(3, 16, 12), filter=filters)
    return dinv.physics.Inpainting(img_size=(3, 16, 12), mask=masks)


@pytest.mark.parametrize("name", ["Blur", "BlurFFT", "Inpainting"])
def test_linear_physics_is_a_forward_model_with_parameters_per_sample(dinv, name):
    given = physics_of(dinv, name, 3)
    model = ours.forward_model(given)
    x, y = images(3, 3), images(3, 3, seed=1)
    torch.testing.assert_close(model.A(x), given.A(x))
    torch.testing.assert_close((model.A(x) * y).sum(), (x * model.A_adjoint(y)).sum(), rtol=1e-6, atol=1e-6)
    for i in range(3):
        one = model.select(i)
        torch.testing.assert_close(one.A(x[i : i + 1]), given.A(x)[i : i + 1], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(one.norm(x[i : i + 1]), model.norm(x)[i : i + 1], rtol=1e-4, atol=0)
    order = torch.tensor([2, 0])
    torch.testing.assert_close(model.take(order).A(x[order]), given.A(x)[order], rtol=1e-6, atol=1e-8)
    assert torch.equal(given.A(x), model.A(x)), "the physics itself is as it was"
    shared = ours.forward_model(physics_of(dinv, name, 1))
    assert shared.select(1) is shared
    assert torch.autograd.gradcheck(shared.A, (images(1, 3).requires_grad_(),), fast_mode=True)
    solved = model.solve_normal(x, 0.3)
    if name == "Blur":
        assert solved is None
    else:
        torch.testing.assert_close(model.A_adjoint(model.A(solved)) + 0.3 * solved, x, rtol=1e-5, atol=1e-5)


def test_which_parameters_belong_to_samples_can_be_said(dinv):
    given = physics_of(dinv, "Inpainting", 2)
    x = images(2, 3)
    told = ours.forward_model(given, per_sample=["mask"])
    torch.testing.assert_close(told.select(1).A(x[1:]), given.A(x)[1:])
    assert ours.forward_model(given, per_sample=[]).select(1).given is given
    assert set(told.tensors()) == {"mask"}
    assert told.to(dtype=torch.float64) is told
    other = told.to(dtype=torch.float32)
    assert other.A(x.float()).dtype == torch.float32 and given.mask.dtype == torch.float64
    with pytest.raises(InputError, match="per_sample"):
        ours.forward_model(given, per_sample=["filter"])


@pytest.mark.parametrize(
    "settings",
    [{"method": "robust-lu"}, {"z_solver": InnerSolver("cg", steps=2)}, {"z_solver": InnerSolver("exact")}],
    ids=["robust", "cg", "exact"],
)
def test_a_model_solves_with_deepinvs_physics_and_its_batch_changes_nothing(dinv, settings):
    model = small(task="deblur", **settings)
    physics = ours.forward_model(physics_of(dinv, "BlurFFT", 3))
    y = images(3, 3, dtype=torch.float32)
    with torch.no_grad():
        together = model(y, physics)
        for i in range(3):
            assert torch.equal(model(y[i : i + 1], physics.select(i)).x[0], together.x[i])
    model(y, physics).x.square().sum().backward()
    assert model.eta.grad.abs() > 0


def test_linear_physics_is_taken_as_it_comes_too(dinv):
    model = small("robust-lu", task="deblur")
    given = dinv.physics.Blur(filter=torch.full((1, 1, 3, 3), 1 / 9), padding="circular")
    y = images(2, 3, dtype=torch.float32)
    with torch.no_grad():
        wanted = model(y, ours.forward_model(given)).x
    assert torch.equal(reconstruct(y, given, model).x, wanted)


def test_our_physics_is_deepinvs(dinv, pairs):
    A0 = WaveletConvolution(pairs.w_nominal[:1].double())
    physics = ours.physics(A0, noise_model=dinv.physics.GaussianNoise(0.1))
    x = images()
    assert isinstance(physics, dinv.physics.LinearPhysics)
    assert physics.adjointness_test(x) < 1e-10
    assert torch.equal(physics.A(x), A0.A(x)) and torch.equal(physics.A_vjp(x, x), A0.A_adjoint(x))
    noisy = physics(x) - A0.A(x)
    assert 0.05 < noisy.std() < 0.2
    bound = A0.norm(x)[0]
    assert 0.8 * bound < physics.compute_norm(x[:1], squared=False, verbose=False) <= bound
    z, y, gamma = images(seed=1), images(seed=2), 0.7
    found = physics.prox_l2(z, y, gamma)
    torch.testing.assert_close(gamma * A0.A_adjoint(A0.A(found) - y) + found - z, torch.zeros_like(z))
    assert torch.equal(physics.prox_l2(z, y, torch.tensor(gamma, dtype=torch.float64)), found)
    iterated = super(type(physics), physics).prox_l2(z, y, gamma, max_iter=300, tol=1e-12)
    torch.testing.assert_close(found, iterated, rtol=1e-6, atol=1e-6)
    pulled = physics.prox_l2(None, y, 2.0)
    torch.testing.assert_close(2 * A0.A_adjoint(A0.A(pulled) - y) + pulled, torch.zeros_like(z))
    single = physics.clone().to(torch.float32)
    assert single.A0.wavelet.dtype == torch.float32 and physics.A0 is A0
    assert single.A(x.float()).dtype == torch.float32
    assert ours.forward_model(physics) is A0


def test_an_affine_model_is_physics_without_being_linear(dinv):
    haze = Haze(images(1).abs(), beta=0.7, airlight=0.8)
    physics = ours.physics(haze)
    assert isinstance(physics, dinv.physics.Physics) and not isinstance(physics, dinv.physics.LinearPhysics)
    x, y = images(), images(seed=1)
    found = dinv.optim.L2().grad(x, y, physics)
    torch.testing.assert_close(found, haze.A_adjoint(haze.A(x) - y))
    physics.update(beta=torch.tensor([0.0]), sigma=torch.tensor(1.0))
    torch.testing.assert_close(physics.A(x), x)
    assert ours.forward_model(physics) is physics.A0


def test_parameters_are_set_by_name(dinv):
    kernel = torch.zeros(3, 3, dtype=torch.float64)
    kernel[1, 1] = 2
    physics = ours.physics(GaussianBlur(size=3, variance=1.0))
    x = images()
    torch.testing.assert_close(physics.A(x.float(), kernel=kernel), 2 * x.float())
    assert torch.equal(physics.A0.kernel[0, 0], kernel.float())
    with pytest.raises(InputError, match="wavelet"):
        ours.physics(WaveletConvolution(torch.ones(3))).update(wavelet=torch.zeros(3))


def test_deepinvs_algorithms_minimise_with_our_physics(dinv):
    A0 = WaveletConvolution(torch.tensor([0.1, -0.4, 1.0, 0.3, -0.2], dtype=torch.float64))
    physics, y, lam = ours.physics(A0), images(), 0.5
    step = 1 / A0.norm(y)[0].item() ** 2
    common = {"data_fidelity": dinv.optim.L2(), "prior": dinv.optim.L1Prior(), "lambda_reg": lam, "early_stop": False}
    fista = dinv.optim.FISTA(stepsize=step, max_iter=300, **common)(y, physics)
    admm = dinv.optim.ADMM(stepsize=step, max_iter=300, **common)(y, physics)
    for x in (fista, admm):
        moved = x - step * A0.A_adjoint(A0.A(x) - y)
        shrunk = moved.sign() * (moved.abs() - step * lam).clamp_min(0)
        torch.testing.assert_close(x, shrunk, rtol=0, atol=1e-6)
    assert (fista.abs() > 0).any() and (fista == 0).any()


def test_what_is_refused(dinv):
    with pytest.raises(InputError, match="LinearPhysics"):
        ours.forward_model(dinv.physics.Haze())
    with pytest.raises(InputError, match="LinearPhysics"):
        ours.forward_model(GaussianBlur())
    with pytest.raises(InputError, match="A0"):
        ours.physics(object())
    with pytest.raises(InputError, match="LinearPhysics"):
        ours.reconstructor(small(), dinv.physics.Haze())


@pytest.mark.parametrize(
    ("error", "said"),
    [(ImportError("deepinv"), r"aafast\[deepinv\]"), (RuntimeError("torchvision::nms"), "one package index")],
)
def test_without_a_usable_deepinv_it_says_what_to_do(monkeypatch, error, said):
    def missing(name):
        raise error

    monkeypatch.setattr("importlib.import_module", missing)
    monkeypatch.setattr(ours, "_kinds", ours._kinds.__wrapped__)
    with pytest.raises(MissingDependency, match=said):
        ours.physics(GaussianBlur())

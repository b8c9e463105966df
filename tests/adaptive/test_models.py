"""The four models: one sample's answer, one semantics in training and evaluation, sizes, types, gradients."""

import pytest
import torch

from aafast import ops
from aafast.config import METHODS, FixedPointConfig, InnerSolver
from aafast.errors import BackendError, InputError
from aafast.nets.spectral_norm import refresh
from aafast.physics import WaveletConvolution
from aafast.solvers import Status
from aafast.tasks import build

from .conftest import make_problem

SMALL = {"channels": 8, "residual_channels": 8, "depth": 3}


def model_of(task, method, **overrides):
    return build(task, method, **(SMALL | overrides))


@pytest.mark.parametrize("method", METHODS)
def test_a_samples_answer_does_not_depend_on_its_batch_to_the_last_bit(task, method):
    model = model_of(task, method)
    y, A0 = make_problem(task)
    with torch.no_grad():
        together = model(y, A0)
        for i in range(len(y)):
            alone = model(y[i : i + 1], A0.select(i))
            assert torch.equal(alone.x[0], together.x[i])
            assert alone.iterations[0] == together.iterations[i]


@pytest.mark.parametrize("method", ["adaptive-lu", "adaptive-deq"])
def test_shared_theta_is_the_authors_option_and_ties_the_batch(method):
    y, A0 = make_problem("deconv")
    solver = InnerSolver("adamw", lr=1e-2)
    model = model_of("deconv", method, theta_scope="batch", theta_solver=solver, z_solver=InnerSolver("exact"))
    with torch.no_grad():
        together, alone = model(y, A0), model(y[:1], A0.select(0))
    assert not torch.equal(together.x[:1], alone.x)
    torch.testing.assert_close(together.wavelet - A0.wavelet, (together.wavelet - A0.wavelet)[:1].expand(3, -1))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_survives_a_solve(task, method):
    model = model_of(task, method)
    y, A0 = make_problem(task)
    refresh(model)  # norms belong to the weights, not to a solve
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        first, second = model(y, A0), model(y, A0)
    assert torch.equal(first.x, second.x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_training_returns_what_evaluation_returns(task, method):
    model = model_of(task, method).double()
    y, A0 = make_problem(task, dtype=torch.float64)
    trained = model(y, A0)
    with torch.no_grad():
        evaluated = model(y, A0)
    torch.testing.assert_close(trained.x.detach(), evaluated.x, rtol=1e-9, atol=1e-11)
    trained.x.square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert gradients and all(g is not None and torch.isfinite(g).all() and g.any() for g in gradients)


@pytest.mark.parametrize("gradient", ["unrolled", "one-step", "phantom", "implicit"])
def test_deq_gradient_modes_agree_in_value_and_direction(gradient):
    y, A0 = make_problem("deconv", batch=2, dtype=torch.float64)
    found, gradients = {}, {}
    for mode in (gradient, "implicit"):
        # Without GroupNorm the normalised layers contract, so that all modes see one fixed point.
        model = model_of(
            "deconv",
            "adaptive-deq",
            norm="none",
            gradient=mode,
            phantom_steps=5,
            fixed_point=FixedPointConfig(ridge=1e-12, tol=1e-11, max_iter=60),
            lam=0.3,
            z_solver=InnerSolver("exact", differentiate=True),
            theta_solver=InnerSolver("none"),
        ).double()
        found[mode] = model(y, A0)
        found[mode].x.square().sum().backward()
        gradients[mode] = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    assert (found[gradient].status == Status.CONVERGED).all()
    torch.testing.assert_close(found[gradient].x, found["implicit"].x, rtol=1e-8, atol=1e-10)
    cosine = torch.nn.functional.cosine_similarity(gradients[gradient], gradients["implicit"], dim=0)
    assert cosine > {"unrolled": 1 - 1e-6, "one-step": 0.7, "phantom": 0.9, "implicit": 1 - 1e-12}[gradient]


def test_gradcheck_of_the_unrolled_model():
    torch.manual_seed(0)
    model = model_of(
        "deconv",
        "adaptive-lu",
        channels=4,
        groups=2,
        iterations=2,
        z_solver=InnerSolver("exact", differentiate=True),
        theta_solver=InnerSolver("none"),
    ).double()
    y, A0 = make_problem("deconv", batch=2, height=8, width=8, dtype=torch.float64)
    weights = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for weight in weights:
            weight.add_(0.1 * torch.randn_like(weight))

    def loss(*values):
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        solution = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (y, A0))
        return solution.x

    assert torch.autograd.gradcheck(loss, tuple(w.detach().requires_grad_() for w in weights), fast_mode=True)


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (40, 13)])
@pytest.mark.parametrize("method", METHODS)
def test_any_size_from_eight(task, method, size):
    y, A0 = make_problem(task, batch=1, height=size[0], width=size[1])
    with torch.no_grad():
        solution = model_of(task, method)(y, A0)
    assert solution.x.shape == y.shape and torch.isfinite(solution.x).all()


def test_strided_input_gives_the_same_answer(task):
    model = model_of(task, "adaptive-lu")
    y, A0 = make_problem(task, batch=2)
    strided = torch.empty(*y.shape[:2], 2 * y.shape[2], 3 * y.shape[3])[:, :, ::2, ::3].copy_(y)
    with torch.no_grad():
        assert torch.equal(model(strided, A0).x, model(y, A0).x)
        nhwc = y.contiguous(memory_format=torch.channels_last)
        assert torch.equal(model(nhwc, A0).x, model(y, A0).x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_the_models_type(dtype):
    model = model_of("deconv", "adaptive-lu")
    y, A0 = make_problem("deconv")
    with torch.no_grad():
        found = model(y.to(dtype), A0).x
        expected = model(y.to(dtype).float(), A0).x.to(dtype)
    assert found.dtype == dtype and torch.equal(found, expected)


def test_float64_model_on_float64_data(task):
    y, A0 = make_problem(task, dtype=torch.float64)
    with torch.no_grad():
        double = model_of(task, "adaptive-lu").double()(y, A0).x
        single = model_of(task, "adaptive-lu")(y.float(), A0.to(dtype=torch.float32)).x
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


def test_a_users_own_forward_model_works():
    class Shift:
        def A(self, x):
            return torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1]

        def A_adjoint(self, y):
            return torch.nn.functional.pad(y, (0, 0, 0, 1))[:, :, 1:]

    y, _ = make_problem("deblur")
    with torch.no_grad():
        for name in ("adamw", "gradient", "cg"):
            solution = model_of("deblur", "adaptive-lu", z_solver=InnerSolver(name))(y, Shift())
            assert torch.isfinite(solution.x).all()


class Gain:
    """A user's own model with one gain per sample and no `select`."""

    gain = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)

    def A(self, x):
        return x * self.gain

    A_adjoint = A


class Selectable(Gain):
    def __init__(self, gain=Gain.gain):
        self.gain = gain

    def select(self, index):
        return Selectable(self.gain[index : index + 1])


@pytest.mark.parametrize("method", METHODS)
def test_a_users_model_with_parameters_per_sample_must_be_able_to_select(method):
    y, _ = make_problem("deblur")
    model = model_of("deblur", method)
    with torch.no_grad():
        with pytest.raises(InputError, match="select"):
            model(y, Gain())
        assert torch.equal(model(y, Selectable()).x[1:2], model(y[1:2], Selectable().select(1)).x)


@pytest.mark.parametrize(("convert", "words"), [(lambda x: x.numpy(), "ndarray"), (lambda x: x.double(), "float64")])
def test_a_users_model_must_return_tensors_like_its_argument(convert, words):
    class Forward:
        def A(self, x):
            return convert(x)

        def A_adjoint(self, y):
            return y

    class Adjoint(Forward):
        A, A_adjoint = Forward.A_adjoint, Forward.A

    y, _ = make_problem("deblur")
    for given in (Forward(), Adjoint()):
        with pytest.raises(InputError, match=words):
            model_of("deblur", "robust-lu")(y, given)


@pytest.mark.parametrize("method", METHODS)
def test_inference_mode_gives_what_no_grad_gives(task, method):
    model = model_of(task, method)
    y, A0 = make_problem(task)
    with torch.no_grad():
        expected = model(y, A0).x
    with torch.inference_mode():
        assert torch.equal(model(y, A0).x, expected)
        assert torch.equal(model(*make_problem(task)).x, expected)  # data and A0 made in inference mode
        assert torch.equal(model_of(task, method)(y, A0).x, expected)
    assert model(y, A0).x.requires_grad


def test_one_depth_map_serves_a_batch_in_training():
    model = model_of("defog", "adaptive-lu").double()
    y, A0 = make_problem("defog", dtype=torch.float64)
    trained = model(y, A0.select(0))
    with torch.no_grad():
        torch.testing.assert_close(trained.x.detach(), model(y, A0.select(0)).x, rtol=1e-9, atol=1e-11)


def test_a_residual_that_needs_more_of_A0_says_so():
    y, _ = make_problem("defog")
    with pytest.raises(InputError, match="depth"):
        model_of("defog", "adaptive-lu")(y, Selectable())
    model = model_of("deconv", "adaptive-lu", residual="wavelet-mlp", theta_scope="batch", iterations=1)
    with pytest.raises(InputError, match="51 taps"):
        model(torch.randn(2, 1, 128, 50), WaveletConvolution(torch.ones(31)))
    for shape in ((1, 1, 128, 50), (2, 1, 64, 50)):
        with pytest.raises(InputError, match="any size"):
            model(torch.randn(shape), WaveletConvolution(torch.ones(51)))


def test_the_implicit_gradient_keeps_to_the_models_backend(monkeypatch):
    asked = []
    mix = ops.anderson_mix
    monkeypatch.setattr("aafast.ops.anderson_mix", lambda *args: asked.append(args[-1]) or mix(*args))
    model = model_of("deconv", "adaptive-deq", gradient="implicit")
    model.backend = "eager"
    model(*make_problem("deconv")).x.square().sum().backward()
    assert set(asked) == {"eager"}


def test_wavelet_estimate_moves_with_theta():
    y, A0 = make_problem("deconv")
    model = model_of("deconv", "adaptive-lu", theta_solver=InnerSolver("adamw", lr=1e-2))
    with torch.no_grad():
        solution = model(y, A0)
    assert solution.wavelet.shape == (3, 51)
    assert 0 < (solution.wavelet - A0.wavelet).abs().max() < 0.1
    with torch.no_grad():
        assert model_of("deblur", "adaptive-lu")(*make_problem("deblur")).wavelet is None


@pytest.mark.parametrize("z_solver", ["exact", "gradient", "cg", "adamw"])
@pytest.mark.parametrize("grad", [True, False])
def test_a_sample_whose_theta_diverges_leaves_the_others_alone(z_solver, grad):
    model = model_of(
        "deconv", "adaptive-lu", theta_solver=InnerSolver("gradient", lr=1e12, steps=3), z_solver=InnerSolver(z_solver)
    )
    y, A0 = make_problem("deconv", batch=2)
    y[0] = 0  # no gradient, so theta stays
    with torch.set_grad_enabled(grad):
        found = model(y, A0)
    assert found.status.tolist() == [Status.MAX_ITER, Status.DIVERGED]
    assert torch.isfinite(found.x).all()


BAD = {
    "list": (lambda y: [1.0], "torch.Tensor"),
    "axes": (lambda y: y[0], "4 axes"),
    "integers": (lambda y: y.long(), "dtype"),
    "channels": (lambda y: y.expand(-1, 2, -1, -1), "channels"),
    "small": (lambda y: y[..., :7], "W >= 8"),
    "empty": (lambda y: y[:0], "B >= 1"),
    "nan": (lambda y: y.clone().index_fill_(0, torch.tensor([1]), float("nan")), r"sample\(s\) \[1\]"),
    "inf": (lambda y: y.clone().index_fill_(0, torch.tensor([2]), float("inf")), r"sample\(s\) \[2\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_measurements_are_refused(case):
    spoil, words = BAD[case]
    y, A0 = make_problem("deconv")
    with pytest.raises(InputError, match=words) as caught:
        model_of("deconv", "adaptive-lu")(spoil(y), A0)
    assert "expected" in str(caught.value)


def test_mixed_devices_are_refused():
    y, _ = make_problem("deconv")
    with pytest.raises(InputError, match="device"):
        model_of("deconv", "adaptive-lu").to("meta")(y, WaveletConvolution(torch.ones(3)))


def test_a_forward_model_of_another_shape_is_refused():
    class Crop:
        def A(self, x):
            return x[..., 1:]

        def A_adjoint(self, y):
            return torch.nn.functional.pad(y, (1, 0))

    with pytest.raises(InputError, match="shape of A0"):
        model_of("deconv", "adaptive-lu")(make_problem("deconv")[0], Crop())


def test_backends_by_name_agree_and_are_named_in_the_solution():
    y, A0 = make_problem("deconv")
    model = model_of("deconv", "adaptive-deq")
    found = {}
    for name in ("auto", "eager", "cpp"):
        model.backend = name
        with torch.no_grad():
            found[name] = model(y, A0)
    assert [found[name].backend for name in ("auto", "eager", "cpp")] == ["cpp", "eager", "cpp"]
    assert torch.equal(found["auto"].x, found["cpp"].x)
    torch.testing.assert_close(found["eager"].x, found["cpp"].x, rtol=1e-3, atol=1e-4)


def test_a_backend_that_is_unknown_or_cannot_run_here_says_why():
    model = model_of("deconv", "adaptive-deq")
    with pytest.raises(BackendError, match="info"):
        model.backend = "tpu"
    model.backend = "cuda"
    with pytest.raises(BackendError, match="CUDA"):
        model(*make_problem("deconv"))

"""Forward models: adjoints, norms, closed forms against dense algebra, and bad input."""

import pytest
import torch

from aafast.errors import InputError
from aafast.ops import correlate_planes
from aafast.physics import ForwardModel, GaussianBlur, Haze, WaveletConvolution, as_forward_model, gaussian_kernel

DOUBLE = torch.float64


def models():
    g = torch.Generator().manual_seed(3)
    rand = lambda *shape: torch.rand(*shape, generator=g, dtype=DOUBLE)  # noqa: E731
    return {
        "wavelet-one": (WaveletConvolution(rand(51) - 0.5), (2, 1, 70, 33)),
        "wavelet-each": (WaveletConvolution(rand(3, 11) - 0.5), (3, 1, 17, 9)),
        "wavelet-longer-than-trace": (WaveletConvolution(rand(51) - 0.5), (1, 1, 8, 8)),
        "blur-gaussian": (GaussianBlur(gaussian_kernel(5, 7.0, DOUBLE)), (2, 3, 20, 31)),
        "blur-channels": (GaussianBlur(rand(3, 7, 7)), (2, 3, 13, 8)),
        "blur-each": (GaussianBlur(rand(2, 3, 3, 3)), (2, 3, 9, 8)),
        "haze": (Haze(rand(2, 1, 12, 10), beta=0.7, airlight=0.9), (2, 3, 12, 10)),
    }


@pytest.mark.parametrize("name", models())
def test_adjoint_by_the_dot_test(name):
    model, shape = models()[name]
    g = torch.Generator().manual_seed(0)
    x, v = (torch.randn(*shape, generator=g, dtype=DOUBLE) for _ in range(2))
    image = model.A(x) - model.A(torch.zeros_like(x))
    left, right = (image * v).sum(), (x * model.A_adjoint(v)).sum()
    assert not abs(left - right) > 1e-12 * image.norm() * v.norm()


@pytest.mark.parametrize("name", models())
def test_gradient_of_A_is_its_adjoint(name):
    model, shape = models()[name]
    x = torch.randn(*shape, dtype=DOUBLE, requires_grad=True)
    v = torch.randn(*shape, dtype=DOUBLE)
    (gradient,) = torch.autograd.grad(model.A(x), x, v)
    torch.testing.assert_close(gradient, model.A_adjoint(v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", models())
def test_norm_bounds_every_image_and_is_nearly_reached(name):
    model, shape = models()[name]
    start = torch.zeros(*shape, dtype=DOUBLE)
    bound, found = model.norm(start), super(type(model), model).norm(start)
    assert bound.shape == found.shape == (shape[0],)
    assert not (found > bound * (1 + 1e-9)).any()
    # The bound belongs to an endless image: one that the kernel hardly fits into stays well below it.
    assert not (found < (0.3 if "longer" in name else 0.5) * bound).any()


@pytest.mark.parametrize("name", ["wavelet-longer-than-trace", "blur-each"])
def test_power_iteration_finds_the_largest_singular_value(name):
    model, shape = models()[name]
    shape = (1, *shape[1:])
    model = model.select(0)
    size = shape[1] * shape[2] * shape[3]
    probe = torch.eye(size, dtype=DOUBLE).view(size, *shape[1:])
    exact = torch.linalg.matrix_norm(model.A(probe).flatten(1), 2)
    found = super(type(model), model).norm(torch.zeros(*shape, dtype=DOUBLE))
    assert not abs(found[0] / exact - 1) > 0.05


def test_wavelet_convolution_by_hand():
    wavelet = torch.tensor([1.0, 2.0, -3.0], dtype=DOUBLE)
    spike = torch.zeros(1, 1, 9, 8, dtype=DOUBLE)
    spike[0, 0, 4, 2] = 1
    out = WaveletConvolution(wavelet).A(spike)[0, 0, :, 2]
    assert out.tolist() == [0, 0, 0, 1, 2, -3, 0, 0, 0]


@pytest.mark.parametrize("taps", [3, 21, 51])
@pytest.mark.parametrize("time", [8, 25, 70])
def test_the_normal_matrix_is_that_of_the_map(time, taps):
    """Traces shorter than the wavelet, than both of its halves, and longer ones."""
    model = WaveletConvolution(torch.randn(2, taps, dtype=DOUBLE))
    matrix = model.A(torch.eye(time, dtype=DOUBLE).expand(2, 1, time, time))[:, 0]
    torch.testing.assert_close(model._gram(time), matrix.mT @ matrix, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["wavelet-one", "wavelet-each", "haze"])
def test_closed_form_solves_the_normal_equations(name):
    model, shape = models()[name]
    rhs = torch.randn(*shape, dtype=DOUBLE)
    z = model.solve_normal(rhs, 0.3)
    back = model.A_adjoint(model.A(z) - model.A(torch.zeros_like(z))) + 0.3 * z
    torch.testing.assert_close(back, rhs, rtol=1e-10, atol=1e-10)


def closed_form(wavelet, rhs):
    return WaveletConvolution(wavelet).solve_normal(rhs, 0.3)


def test_the_kept_factor_follows_the_wavelet():
    wavelet, rhs = torch.randn(11, dtype=DOUBLE), torch.randn(1, 1, 20, 8, dtype=DOUBLE)
    model = WaveletConvolution(wavelet)
    model.solve_normal(rhs, 0.3)
    wavelet.mul_(2)
    torch.testing.assert_close(model.solve_normal(rhs, 0.3), closed_form(wavelet.clone(), rhs), rtol=0, atol=0)


def test_the_kept_factor_belongs_to_no_gradient_and_no_inference_mode():
    wavelet = torch.randn(11, dtype=DOUBLE, requires_grad=True)
    rhs = torch.randn(1, 1, 12, 8, dtype=DOUBLE, requires_grad=True)
    model = WaveletConvolution(wavelet)
    with torch.no_grad():
        model.solve_normal(rhs, 0.3)
    for _ in range(2):  # a kept graph would be gone at the second backward
        model.solve_normal(rhs, 0.3).square().sum().backward()
    assert wavelet.grad.any() and rhs.grad.any()
    assert torch.autograd.gradcheck(closed_form, (wavelet, rhs), fast_mode=True)
    fixed = WaveletConvolution(wavelet.detach())
    with torch.inference_mode():
        fixed.solve_normal(rhs.detach(), 0.3)
    fixed.solve_normal(rhs, 0.3).sum().backward()


def test_a_closed_form_that_fails_spoils_its_own_sample_alone():
    wavelets, rhs = torch.randn(2, 11, dtype=DOUBLE), torch.randn(2, 1, 20, 8, dtype=DOUBLE)
    moved = wavelets.clone()
    moved[0] = float("inf")
    z = WaveletConvolution.unchecked(moved).solve_normal(rhs, 0.3)
    assert z[0].isnan().all()
    torch.testing.assert_close(z[1:], closed_form(wavelets[1:], rhs[1:]), rtol=1e-12, atol=1e-12)


def test_the_norm_of_a_sample_does_not_depend_on_its_place_in_the_batch():
    blur = GaussianBlur(torch.rand(5, 5, dtype=DOUBLE))
    found = super(GaussianBlur, blur).norm(torch.zeros(3, 1, 20, 20, dtype=DOUBLE))
    torch.testing.assert_close(found, found[:1].expand(3), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["wavelet-each", "blur-each", "haze"])
def test_selecting_a_sample_gives_that_samples_answer(name):
    model, shape = models()[name]
    x = torch.randn(*shape, dtype=DOUBLE)
    for i in range(shape[0]):
        torch.testing.assert_close(model.select(i).A(x[i : i + 1])[0], model.A(x)[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", models())
def test_taking_samples_gives_their_answers_in_that_order(name):
    model, shape = models()[name]
    x = torch.randn(*shape, dtype=DOUBLE)
    for order in ([0], list(range(shape[0]))[::-1], [0] * 3, []):
        index = torch.tensor(order, dtype=torch.int64)
        part = model.take(index)
        for method in ("A", "A_adjoint", "norm") if order else ("A", "A_adjoint"):
            got, want = getattr(part, method)(x[index]), getattr(model, method)(x)[index]
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
        assert part.features().shape[0] in (1, len(order)) and type(part) is type(model)


def test_models_with_shared_parameters_are_their_own_part():
    index, each = torch.tensor([1, 0]), torch.rand(2, 1, 8, 8)
    for model in (WaveletConvolution(torch.ones(3)), GaussianBlur(), Haze(each[:1], beta=0.5), as_forward_model(Own())):
        assert model.take(index) is model and model.select(1) is model
    hazes = Haze(each[:1], beta=torch.tensor([0.1, 0.2])), Haze(each[:1], airlight=torch.rand(2, 3)), Haze(each)
    for model in hazes:
        x = torch.rand(2, 3, 8, 8)
        assert torch.equal(model.take(index).A(x[index]), model.A(x)[index])


def test_a_gradient_passes_through_taking_samples():
    wavelets, x = torch.randn(3, 5, dtype=DOUBLE, requires_grad=True), torch.randn(2, 1, 9, 8, dtype=DOUBLE)
    WaveletConvolution(wavelets).take(torch.tensor([2, 0])).A(x).square().sum().backward()
    assert wavelets.grad[0].any() and not wavelets.grad[1].any() and wavelets.grad[2].any()


def test_taking_samples_does_not_look_at_their_values():
    wavelets = torch.full((2, 3), torch.nan)
    assert WaveletConvolution.unchecked(wavelets).take(torch.tensor([0])).wavelet.isnan().all()
    haze = Haze(torch.rand(2, 1, 8, 8))
    haze.depth[0] = torch.nan
    assert haze.take(torch.tensor([0])).depth.isnan().all()


class Own:
    """A user's model: one factor for a batch, or one per sample where it says which."""

    linear = True

    def __init__(self, factor=2.0):
        self.factor = factor

    def A(self, x):
        return self.factor * x

    def A_adjoint(self, y):
        return self.factor * y


class OwnEach(Own):
    def __init__(self, *factors):
        super().__init__(torch.tensor(factors, dtype=DOUBLE).view(-1, 1, 1, 1))

    def select(self, index):
        return Own(float(self.factor[index]))


def test_samples_of_a_users_own_model_have_their_own_models():
    model = as_forward_model(OwnEach(1.0, 2.0, 3.0))
    x = torch.randn(3, 1, 8, 9, dtype=DOUBLE, requires_grad=True)
    index = torch.tensor([2, 0])
    part = model.take(index)
    for method in ("A", "A_adjoint"):
        assert torch.equal(getattr(part, method)(x[index]), getattr(model, method)(x)[index])
    torch.testing.assert_close(part.norm(x[index]), torch.tensor([3.0, 1.0], dtype=DOUBLE))
    assert torch.equal(torch.autograd.grad(part.A(x[index]).sum(), x)[0][:, 0, 0, 0], torch.tensor([1.0, 0, 3]).to(x))
    assert part.linear and part.features() is None and part.solve_normal(x[index], 1.0) is None
    assert part.tensors() == {} and part.select(1).given.factor == 1.0
    assert torch.equal(part.take(torch.tensor([1])).A(x[:1]), x[:1])
    with pytest.raises(InputError, match="batch size: got 3; expected 2, one per model"):
        part.A(x)


def test_joined_models_keep_what_their_own_models_know():
    class Wavelets(ForwardModel):
        models = [WaveletConvolution(torch.rand(1, 5, dtype=DOUBLE) + i) for i in range(3)]

        def select(self, index):
            return self.models[index]

    part = Wavelets().take(torch.tensor([2, 0])).to(dtype=DOUBLE)
    whole = WaveletConvolution(torch.cat([Wavelets.models[i].wavelet for i in (2, 0)]))
    rhs = torch.randn(2, 1, 12, 8, dtype=DOUBLE)
    torch.testing.assert_close(part.solve_normal(rhs, 0.3), whole.solve_normal(rhs, 0.3))
    torch.testing.assert_close(part.norm(rhs), whole.norm(rhs))
    assert torch.equal(part.features(), whole.features())
    assert list(part.tensors()) == ["wavelet of sample 0", "wavelet of sample 1"]


KERNELS = {
    "gaussian-5": lambda dtype: gaussian_kernel(5, 7.0, dtype),
    "gaussian-31": lambda dtype: gaussian_kernel(31, 20.0, dtype),
    "gaussian-narrow": lambda dtype: gaussian_kernel(9, 0.2, dtype),
    "gaussians": lambda dtype: torch.stack([gaussian_kernel(7, v, dtype) for v in (1.0, 2.0, 3.0)]),
    "sobel": lambda dtype: torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=dtype),
    "zero": lambda dtype: torch.zeros(3, 3, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_of_rank_one_acts_as_column_times_row(name, dtype):
    kernel = KERNELS[name](dtype)
    model = GaussianBlur(kernel)
    assert model._separated() is not None
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 40, 33, generator=g, dtype=dtype)
    for got, kernel in ((model.A(x), model.kernel), (model.A_adjoint(x), model.kernel.flip(2, 3))):
        want = correlate_planes(x.double(), kernel.double())
        error = (got - want).abs().max() / want.abs().max().clamp_min(1e-300)
        assert error <= (1e-6 if dtype == torch.float32 else 1e-13), f"{error:.1e}"


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
def test_a_kernel_of_rank_above_one_stays_whole(dtype):
    nearly = gaussian_kernel(5, 7.0, dtype)
    nearly[1, 3] *= 1 + 100 * torch.finfo(dtype).eps ** (1.0 if dtype == torch.float32 else 0.8)
    disc = (torch.arange(-3.0, 4)[:, None].square() + torch.arange(-3.0, 4).square() <= 9).to(dtype)
    one_of_two = torch.stack([gaussian_kernel(7, 7.0, dtype), disc])  # channels of a sample go one way
    x = torch.randn(1, 2, 20, 17, dtype=dtype)
    for kernel in (nearly, disc, one_of_two):
        model = GaussianBlur(kernel)
        assert model._separated() is None
        assert torch.equal(model.A(x), correlate_planes(x, model.kernel))


def test_each_sample_takes_the_way_it_would_take_alone():
    kernels = torch.stack([gaussian_kernel(5, 2.0), torch.rand(5, 5), gaussian_kernel(5, 3.0)])[:, None]
    model, x = GaussianBlur(kernels), torch.randn(3, 2, 20, 17)
    for method in ("A", "A_adjoint"):
        whole = getattr(model, method)(x)
        for i in range(3):
            alone = getattr(GaussianBlur(kernels[i : i + 1]), method)(x[i : i + 1])
            assert torch.equal(whole[i : i + 1], alone)
            assert torch.equal(getattr(model.select(i), method)(x[i : i + 1]), alone)
    assert [model.select(i)._separated() is not None for i in range(3)] == [True, False, True]


def test_a_kernel_that_changes_or_learns_is_followed():
    kernel, x = gaussian_kernel(5, 7.0, DOUBLE), torch.randn(1, 1, 12, 13, dtype=DOUBLE)
    model = GaussianBlur(kernel)
    kernel[0, 0] = 1.0
    assert torch.equal(model.A(x), GaussianBlur(kernel.clone()).A(x))
    learned = gaussian_kernel(3, 1.0, DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: GaussianBlur(k).A(x), learned)
    late = GaussianBlur(gaussian_kernel(3, 1.0, DOUBLE))
    late.kernel.requires_grad_()
    late.A(x).sum().backward()
    assert late.kernel.grad.any()


def test_a_kernel_of_inference_mode_belongs_to_the_model_alone():
    x = torch.randn(2, 1, 12, 13, dtype=DOUBLE)
    with torch.inference_mode():
        kernel = torch.stack([gaussian_kernel(5, v, DOUBLE) for v in (1.0, 2.0)])[:, None]
        model = GaussianBlur(kernel)
        before = model.A(x)
        kernel.zero_()
        assert torch.equal(model.A(x), before)
        assert torch.equal(model.select(1).A(x[1:]), before[1:])


def test_a_blur_of_another_precision_finds_its_factors_anew():
    kernel = gaussian_kernel(5, 7.0)  # rank one to float32's rounding, not to float64's
    model = GaussianBlur(kernel)
    x = torch.randn(1, 1, 12, 13, dtype=DOUBLE)
    assert torch.equal(model.to(dtype=DOUBLE).A(x), correlate_planes(x, model.kernel.double()))


def test_identity_when_there_is_no_haze():
    x = torch.rand(1, 3, 8, 9)
    assert torch.equal(Haze(torch.rand(1, 1, 8, 9)).A(x), x)


def test_a_users_own_model_gets_its_gradient_from_the_adjoint():
    class Doubling:
        def A(self, x):
            return torch.from_numpy(2 * x.numpy())

        def A_adjoint(self, y):
            return 2 * y

    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    model = as_forward_model(Doubling())
    model.A(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WaveletConvolution([1.0, 2.0, 1.0]), "tensor"),
        (lambda: WaveletConvolution(torch.ones(4)), "odd"),
        (lambda: WaveletConvolution(torch.tensor([0.0, float("nan"), 0.0])), "NaN"),
        (lambda: WaveletConvolution(torch.zeros(5)), "zero"),
        (lambda: WaveletConvolution(torch.ones(3, dtype=torch.int64)), "float32"),
        (lambda: WaveletConvolution(torch.ones(2, 3)).A(torch.ones(3, 1, 8, 8)), "batch size 3"),
        (lambda: WaveletConvolution(torch.ones(3)).A(torch.ones(3, 2, 8, 8)), "B, 1, T, X"),
        (lambda: GaussianBlur(size=4), "odd"),
        (lambda: GaussianBlur(variance=0.0), "positive"),
        (lambda: GaussianBlur(torch.ones(3, 5)), "square"),
        (lambda: GaussianBlur(torch.ones(2, 3, 3)).A(torch.ones(1, 3, 8, 8)), "kernel"),
        (lambda: Haze(torch.ones(8, 8)), "B, 1, H, W"),
        (lambda: Haze(-torch.ones(1, 1, 8, 8)), "negative"),
        (lambda: Haze(torch.ones(1, 1, 8, 8), beta=-1.0), "beta"),
        (lambda: Haze(torch.ones(1, 1, 8, 8), airlight=float("nan")), "airlight"),
        (lambda: Haze(torch.ones(3, 1, 8, 8), beta=torch.ones(2)).A(torch.ones(3, 3, 8, 8)), "batch size 3"),
        (lambda: Haze(torch.ones(1, 1, 8, 8)).A(torch.ones(1, 3, 9, 8)), "Resample"),
        (lambda: as_forward_model(object()), "A_adjoint"),
    ],
)
def test_bad_input_says_what_to_do(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "got" in str(caught.value) and "expected" in str(caught.value)

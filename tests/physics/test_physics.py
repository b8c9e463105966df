"""Forward models: adjoints, norms, closed forms against dense algebra, and bad input."""

import pytest
import torch

from aafast.errors import InputError
from aafast.physics import GaussianBlur, Haze, WaveletConvolution, as_forward_model, gaussian_kernel

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


@pytest.mark.parametrize("time", [8, 70])
def test_wavelet_matrix_is_the_map(time):
    model = WaveletConvolution(torch.randn(2, 21, dtype=DOUBLE))
    x = torch.randn(2, 1, time, 9, dtype=DOUBLE)
    torch.testing.assert_close(model.matrix(time) @ x[:, 0], model.A(x)[:, 0], rtol=1e-12, atol=1e-12)


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

"""PyLops' operators as forward models, and ours among its operators."""

import numpy as np
import pytest
import torch

from aafast import GaussianBlur, Haze, WaveletConvolution, build
from aafast.compat.pylops import forward_model, linear_operator
from aafast.config import InnerSolver
from aafast.data import ricker
from aafast.errors import InputError, MissingDependency

pylops = pytest.importorskip("pylops", reason="pylops is not installed: pip install aafast[baselines]")
SHAPE = (20, 9)


def images(batch=2, channels=1, dtype=torch.float64, seed=0):
    return torch.randn(batch, channels, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def taps(dtype=torch.float64):
    return torch.tensor([0.1, -0.4, 1.0, 0.3, -0.2], dtype=dtype)


def convolution(dims, wavelet=None, axis=0):
    wavelet = taps().numpy() if wavelet is None else wavelet
    return pylops.signalprocessing.Convolve1D(dims, wavelet, offset=2, axis=axis, dtype=wavelet.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("dims", "axis", "channels"),
    [(SHAPE, 0, 1), ((3, *SHAPE), 1, 3), (SHAPE, 0, 3), ((SHAPE[0],), 0, 2)],
    ids=["section", "sample", "channel", "trace"],
)
def test_an_operator_acts_as_our_own_forward_model(dims, axis, channels, dtype):
    wavelet = taps(dtype)
    given = forward_model(convolution(dims, wavelet.numpy(), axis))
    x, y = images(3, channels, dtype), images(3, channels, dtype, seed=1)
    own = WaveletConvolution(wavelet)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    for method, argument in (("A", x), ("A_adjoint", y)):
        found = getattr(given, method)(argument)
        wanted = torch.cat([getattr(own, method)(argument[:, c : c + 1]) for c in range(channels)], dim=1)
        assert found.dtype == dtype
        torch.testing.assert_close(found, wanted, **close)
    torch.testing.assert_close((given.A(x) * y).sum(), (x * given.A_adjoint(y)).sum(), **close)
    torch.testing.assert_close(given.norm(x), own.norm(x[:, :1]), rtol=0.05, atol=0)


def test_its_gradient_is_its_adjoint_to_any_order():
    given = forward_model(convolution(SHAPE))
    x = images().requires_grad_()
    assert torch.autograd.gradcheck(given.A, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda v: given.A(v).pow(3), (x,), fast_mode=True)
    (found,) = torch.autograd.grad(given.A(x).square().sum(), x)
    torch.testing.assert_close(found, 2 * given.A_adjoint(given.A(x)))


def test_one_operator_per_sample():
    wavelets = [taps().numpy(), np.array([0.0, 0.0, 2.0, 0.0, 0.0])]
    given = forward_model([convolution(SHAPE, wavelet) for wavelet in wavelets])
    x = images()
    found = given.A(x)
    torch.testing.assert_close(found[1], 2 * x[1])
    torch.testing.assert_close(given.select(0).A(x[:1]), found[:1])
    torch.testing.assert_close(given.take(torch.tensor([1, 0])).A(x.flip(0)), found.flip(0))
    with pytest.raises(InputError, match="number of operators"):
        given.A(images(3))


def test_an_operator_that_is_not_square():
    operator = pylops.Restriction(SHAPE, [1, 4, 7], axis=1)
    given = forward_model(operator)
    x = images(2)
    assert given.A(x).shape == (2, 1, 20, 3)
    assert torch.equal(given.A(x), x[..., [1, 4, 7]])
    assert given.A_adjoint(given.A(x)).shape == x.shape
    shared = forward_model(pylops.Restriction((3, *SHAPE), [0, 2], axis=0))
    assert torch.equal(shared.A(images(2, 3)), images(2, 3)[:, [0, 2]])
    columns = forward_model(pylops.MatrixMult(np.arange(40.0).reshape(2, 20)))
    assert columns.A(x).shape == (2, 1, 2, 9)
    torch.testing.assert_close(columns.A(x), torch.arange(40.0, dtype=torch.float64).reshape(2, 20) @ x)


@pytest.mark.parametrize("method", ["robust-lu", "adaptive-lu"])
def test_a_model_solves_with_an_operator_as_with_our_own(method):
    settings = {} if method == "robust-lu" else {"residual": "conv", "z_solver": InnerSolver("cg", steps=2)}
    model = build("deconv", method, channels=4, depth=3, groups=2, residual_channels=4, iterations=2, **settings)
    wavelet = taps(torch.float32)
    y = images(dtype=torch.float32)
    given, own = forward_model(convolution(SHAPE, wavelet.numpy())), WaveletConvolution(wavelet)
    with torch.no_grad():
        torch.testing.assert_close(model(y, given).x, model(y, own).x, rtol=1e-4, atol=1e-6)
    model(y, given).x.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.eta.grad.abs() > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [SHAPE, (1, *SHAPE), (2, 1, *SHAPE)])
def test_our_wavelet_passes_pylops_dot_test(dtype, shape):
    wavelets = torch.stack([taps(), taps().flip(0)]) if len(shape) == 4 else torch.from_numpy(ricker(30.0, 0.004, 11))
    operator = linear_operator(WaveletConvolution(wavelets), shape, dtype)
    assert isinstance(operator, pylops.LinearOperator)
    assert operator.dims == operator.dimsd == shape and operator.dtype == dtype
    assert pylops.utils.dottest(operator, rtol=1e-4 if dtype == "float32" else 1e-10)
    x = images(shape[0] if len(shape) == 4 else 1).numpy().reshape(shape).astype(dtype)
    found = operator @ x
    wanted = WaveletConvolution(wavelets).A(torch.from_numpy(x).double().reshape(-1, 1, *SHAPE))
    assert found.shape == shape and found.dtype == dtype
    np.testing.assert_allclose(found.reshape(-1), wanted.numpy().reshape(-1), rtol=1e-5, atol=1e-5)


def test_our_operator_in_pylops_solvers_and_algebra():
    operator = linear_operator(WaveletConvolution(taps()), SHAPE)
    x = images(1).numpy().reshape(SHAPE)
    found = pylops.optimization.basic.cgls(operator, operator @ x, x0=np.zeros(SHAPE), niter=200, tol=0)[0]
    np.testing.assert_allclose(found, x, atol=1e-5)
    twice = operator.H * operator + 2 * pylops.Identity(operator.shape[0])
    assert pylops.utils.dottest(twice, rtol=1e-10)
    theirs = convolution(SHAPE)
    np.testing.assert_allclose(operator.todense(), theirs.todense(), atol=1e-14)
    blur = linear_operator(GaussianBlur(size=3, variance=1.0), (3, *SHAPE))
    assert pylops.utils.dottest(blur, rtol=1e-6)
    back = forward_model(operator)
    torch.testing.assert_close(back.A(images()), WaveletConvolution(taps()).A(images()))


def test_what_is_refused():
    with pytest.raises(InputError, match="pylops.LinearOperator"):
        forward_model(np.eye(3))
    with pytest.raises(InputError, match="empty"):
        forward_model([])
    with pytest.raises(InputError, match="one shape"):
        forward_model([pylops.Identity(4), pylops.Identity(5)])
    with pytest.raises(InputError, match="real"):
        forward_model(pylops.Identity(4, dtype="complex128"))
    with pytest.raises(InputError, match=r"columns of the operator: got 7"):
        forward_model(pylops.Identity(7)).A(images())
    with pytest.raises(InputError, match="linear"):
        linear_operator(Haze(torch.ones(1, 1, *SHAPE)), SHAPE)
    with pytest.raises(InputError, match="float16"):
        linear_operator(WaveletConvolution(taps()), SHAPE, "float16")
    with pytest.raises(InputError, match="shape of the images"):
        linear_operator(WaveletConvolution(taps()), (20,))
    with pytest.raises(InputError, match="real numbers"):
        linear_operator(WaveletConvolution(taps()), SHAPE) @ (1j * np.ones(SHAPE))


def test_without_pylops_the_extra_is_named(monkeypatch):
    from aafast.compat import pylops as ours

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    monkeypatch.setattr(ours, "_operator", ours._operator.__wrapped__)
    with pytest.raises(MissingDependency, match=r"aafast\[baselines\]"):
        linear_operator(WaveletConvolution(taps()), SHAPE)

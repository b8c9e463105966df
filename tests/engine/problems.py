"""Small problems and models for the engine, with weights at which every part of a model counts."""

import copy

import torch

from aafast.config import FixedPointConfig
from aafast.engine.plan import plan_of
from aafast.engine.problem import FusedProblem
from aafast.engine.step import AdaptiveWork, PlainWork
from aafast.nets.spectral_norm import refresh
from aafast.physics import GaussianBlur, Haze, WaveletConvolution
from aafast.tasks import build

SMALL = {"channels": 16, "residual_channels": 16, "depth": 4, "iterations": 3}
FEW = FixedPointConfig(max_iter=5, tol=0.0)
# Their gradients are zero but for rounding: BatchNorm takes the mean off what they are added to.
MEANINGLESS = ("linear1_bias", "linear2_bias")


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make_problem(task, dtype=torch.float64, batch=3, height=21, width=14, seed=0):
    """A measurement and a nominal forward model, one per sample."""
    if task == "deconv":
        return rand(batch, 1, height, width, seed=seed, dtype=dtype), WaveletConvolution(
            (rand(batch, 51, seed=seed + 1) / 7).to(dtype)
        )
    y = rand(batch, 3, height, width, seed=seed, dtype=dtype)
    if task == "deblur":
        kernels = rand(batch, 3, 5, 5, seed=seed + 1).abs()
        return y, GaussianBlur((kernels / kernels.sum((2, 3), keepdim=True)).to(dtype))
    return y, Haze(rand(batch, 1, height, width, seed=seed + 1, dtype=dtype).abs())


def model_of(task, method, dtype=torch.float64, **overrides):
    """A model whose networks are not nearly zero, as they are at the authors' start."""
    settings = SMALL | ({"fixed_point": FEW} if method == "adaptive-deq" else {}) | overrides
    model = build(task, method, seed=1, **settings)
    with torch.no_grad():
        for i, weight in enumerate(model.prox.R.parameters()):
            weight.copy_(weight * 6 if weight.ndim == 4 else weight + 0.2 * rand(*weight.shape, seed=i))
        if hasattr(model, "residual"):
            for i, value in enumerate(model.residual.start_values.values()):
                value.copy_(value * 6 if value.ndim == 4 else value + 0.1 * rand(*value.shape, seed=i))
    return model.to(dtype)


@torch.no_grad()
def solve(model, problem, backend="auto"):
    """The solution by one backend; the model keeps its own."""
    before, model.backend = model.backend, backend
    try:
        found = model(*problem)
    finally:
        model.backend = before
    assert found.backend == {"auto": "cpp"}.get(backend, found.backend)
    return found


def distance(got, want):
    """Relative 2-norm; NaN and Inf are far from everything."""
    assert got.shape == want.shape
    got, want = got.double(), want.double()
    if torch.equal(got, want):
        return 0.0
    apart = float((got - want).norm() / want.norm().clamp_min(1e-300))
    return apart if apart == apart else float("inf")


def parts(solution):
    """The tensors of a solution by name, without the residuals."""
    found = {"x": solution.x, **solution.aux}
    found |= {name: value for name in ("z", "wavelet") if (value := getattr(solution, name)) is not None}
    return found


def assert_close(got, want, tolerance):
    """Hold all that a solution carries to another one."""
    assert torch.equal(got.status, want.status) and torch.equal(got.iterations, want.iterations)
    assert got.residuals.shape == want.residuals.shape
    mine, true = parts(got), parts(want)
    assert mine.keys() == true.keys()
    for name, value in mine.items():
        assert value.dtype == true[name].dtype
        if name.endswith(MEANINGLESS):
            assert float((value - true[name]).abs().max()) <= tolerance, name
            continue
        error = distance(value, true[name])
        assert error <= tolerance, f"{name}: error {error:.2e}"
    for mine, true in zip(got.residuals.T, want.residuals.T, strict=True):
        count = int((~true.isnan()).sum())
        assert (~mine.isnan()).sum() == count
        error = float((mine[:count] - true[:count]).abs().max())
        assert error <= tolerance, f"residuals: error {error:.2e}"


def assert_same(got, want, row=slice(None)):
    """Hold rows of a solution to another one to the last bit."""
    assert torch.equal(got.status[row], want.status) and torch.equal(got.iterations[row], want.iterations)
    mine, true = parts(got), parts(want)
    assert mine.keys() == true.keys()
    for name, value in mine.items():
        assert value.dtype == true[name].dtype
        torch.testing.assert_close(value[row], true[name], rtol=0, atol=0, equal_nan=True, msg=name)
    length = len(want.residuals)
    torch.testing.assert_close(got.residuals[:length, row], want.residuals, rtol=0, atol=0, equal_nan=True)
    assert got.residuals[length:, row].isnan().all()


def work_of(model, problem):
    """What the engine iterates on a problem."""
    refresh(model)
    kind = AdaptiveWork if hasattr(model, "residual") else PlainWork
    with torch.no_grad():
        return kind(model, plan_of(model), *problem)


def fused_problem(model, problem):
    """The engine's objective for a problem."""
    refresh(model)
    return FusedProblem(*problem, plan_of(model).mismatch(model.residual), model.config, "cpp")


def double(model):
    """The same model in float64, run by plain torch."""
    refresh(model)
    twin = copy.deepcopy(model).double()
    twin.backend = "eager"
    return twin


def as_float(problem, dtype):
    """A problem in another type."""
    y, A0 = problem
    return y.to(dtype), A0.to(dtype=dtype)
